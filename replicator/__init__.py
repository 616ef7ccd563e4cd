"""Multi-region replication middleware: one Raft log, local reads, causal tokens.

What is re-exported here is the public face: the client, the read levels, what calls return, the errors.
"""

from replicator.client import Client, ClientTls, connect
from replicator.model.errors import (
    DeadlineExceeded,
    Forbidden,
    Internal,
    InvalidArgument,
    InvalidToken,
    NoLeader,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    ReplicaBehind,
    ReplicatorError,
    SessionExpired,
    ShuttingDown,
    StorageFull,
    TokenAhead,
    Unavailable,
)
from replicator.model.values import (
    CompareAndSetResult,
    Consistency,
    DeleteResult,
    GetResult,
    KeyValue,
    MemberStatus,
    NodeStatus,
    PutResult,
)

LINEARIZABLE = Consistency.LINEARIZABLE
CAUSAL = Consistency.CAUSAL
BOUNDED = Consistency.BOUNDED
LOCAL = Consistency.LOCAL

__all__ = [
    "BOUNDED",
    "CAUSAL",
    "LINEARIZABLE",
    "LOCAL",
    "Client",
    "ClientTls",
    "CompareAndSetResult",
    "Consistency",
    "DeadlineExceeded",
    "DeleteResult",
    "Forbidden",
    "GetResult",
    "Internal",
    "InvalidArgument",
    "InvalidToken",
    "KeyValue",
    "MemberStatus",
    "NoLeader",
    "NodeStatus",
    "NotLeader",
    "OutcomeUnknown",
    "Overloaded",
    "PutResult",
    "ReplicaBehind",
    "ReplicatorError",
    "SessionExpired",
    "ShuttingDown",
    "StorageFull",
    "TokenAhead",
    "Unavailable",
    "connect",
]
