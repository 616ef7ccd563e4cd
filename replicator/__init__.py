"""Multi-region replication middleware: one Raft log, local reads, causal tokens.

What is re-exported here is the public face: the client, the read levels, what calls return, the errors. The client is
imported when it is first asked for: it brings gRPC, which the offline tools and `replicator --help` can do without.
"""

from typing import TYPE_CHECKING, Any

from replicator.model.errors import (
    ChangeInProgress,
    Compacted,
    DeadlineExceeded,
    Forbidden,
    Internal,
    InvalidArgument,
    InvalidToken,
    NoLeader,
    NoMajority,
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
    WriteIdReused,
)
from replicator.model.values import (
    CompareAndSetResult,
    Consistency,
    DeleteResult,
    GetResult,
    KeyValue,
    MembershipResult,
    MemberStatus,
    NodeStatus,
    PutResult,
    ScanPage,
)

if TYPE_CHECKING:
    from replicator.client import Client, ClientTls, Session, connect

LINEARIZABLE = Consistency.LINEARIZABLE
CAUSAL = Consistency.CAUSAL
BOUNDED = Consistency.BOUNDED
LOCAL = Consistency.LOCAL

__all__ = [
    "BOUNDED",
    "CAUSAL",
    "LINEARIZABLE",
    "LOCAL",
    "ChangeInProgress",
    "Client",
    "ClientTls",
    "Compacted",
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
    "MembershipResult",
    "NoLeader",
    "NoMajority",
    "NodeStatus",
    "NotLeader",
    "OutcomeUnknown",
    "Overloaded",
    "PutResult",
    "ReplicaBehind",
    "ReplicatorError",
    "ScanPage",
    "Session",
    "SessionExpired",
    "ShuttingDown",
    "StorageFull",
    "TokenAhead",
    "Unavailable",
    "WriteIdReused",
    "connect",
]

_OF_THE_CLIENT = frozenset({"Client", "ClientTls", "Session", "connect"})


def __getattr__(name: str) -> Any:
    if name not in _OF_THE_CLIENT:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from replicator import client

    return getattr(client, name)
