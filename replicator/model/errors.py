"""The one family of errors. Each says whether the write may have happened, and what to do.

    ReplicatorError
    |- InvalidArgument        the request can never succeed as it is
    |  |- WriteIdReused        another operation bears this write id
    |- Compacted              the revision asked for is forgotten
    |- InvalidToken           not a token of this group
    |  |- TokenAhead          names a point that the log has not reached
    |- Unavailable            nothing happened; try again, perhaps elsewhere
    |  |- NoLeader  NotLeader  ShuttingDown  Overloaded  StorageFull  ReplicaBehind  ChangeInProgress
    |- NoMajority             a change of the membership that would stop the group
    |- DeadlineExceeded       nothing happened, time is over
    |- SessionExpired         the cluster no longer remembers this client's write ids
    |- Forbidden              the other side refused who we are
    |- OutcomeUnknown         the write may or may not have happened; retry under the same write id only
    |- Internal               a bug; the node that met it says more in its log

A class is known on the wire by its `reason`; `error_from_reason` is the way back. Start-up errors (`ConfigError`,
`DataDirectoryError`, `StartupError`) never travel: they are one line for the operator.
"""

from collections.abc import Mapping
from typing import ClassVar, Final, Literal

from replicator.model.ids import LogIndex, Term

Applied = Literal["no", "unknown"]


class ReplicatorError(Exception):
    """Base of all errors that a call can end with.

    message: what was wrong, the limit or state involved, and what to do.
    metadata: the same facts for machines.
    retry_after_s: set where a retry of the same call can help.
    """

    reason: ClassVar[str] = "INTERNAL"
    applied: ClassVar[Applied] = "no"
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, metadata: Mapping[str, str] | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})
        self.retry_after_s = retry_after_s


class InvalidArgument(ReplicatorError):
    """A field is missing, empty, oversized or contradicts another; the message names field and limit."""

    reason = "INVALID_ARGUMENT"


class WriteIdReused(InvalidArgument):
    """Another operation was evaluated under this write id; this one was not, and never will be under it."""

    reason = "WRITE_ID_REUSED"


class Compacted(ReplicatorError):
    """The read asks for a revision before the oldest that is still held; begin anew at a newer one."""

    reason = "COMPACTED"


class InvalidToken(ReplicatorError):
    """The causal (or page) token is malformed, or was issued by another group or an older release."""

    reason = "INVALID_TOKEN"


class TokenAhead(InvalidToken):
    """The token names a point beyond the end of the log: it was not issued by this log."""

    reason = "TOKEN_AHEAD"


class Unavailable(ReplicatorError):
    """No endpoint could take the call. Nothing happened."""

    reason = "UNAVAILABLE"
    retryable = True


class NoLeader(Unavailable):
    """No leader is known: an election is under way, or this node is cut off from the majority."""

    reason = "NO_LEADER"


class NotLeader(Unavailable):
    """The node asked is not the leader any more. Met between nodes only; a caller sees NoLeader."""

    reason = "NOT_LEADER"


class ShuttingDown(Unavailable):
    """The node drains; another one will answer."""

    reason = "SHUTTING_DOWN"


class Overloaded(Unavailable):
    """A queue is at its limit; slow down."""

    reason = "OVERLOADED"


class StorageFull(Unavailable):
    """The node's disk (or its configured size) is full: it serves reads and accepts no writes."""

    reason = "STORAGE_FULL"


class ReplicaBehind(Unavailable):
    """The replica did not reach the asked point or freshness in time; another node may have."""

    reason = "REPLICA_BEHIND"


class ChangeInProgress(Unavailable):
    """Another change of membership or leadership is under way; one goes on at a time."""

    reason = "CHANGE_IN_PROGRESS"


class NoMajority(ReplicatorError):
    """The change would leave a membership of which no majority is connected: the group could commit nothing."""

    reason = "NO_MAJORITY"


class DeadlineExceeded(ReplicatorError):
    """The time given was over before anything was proposed, or the call was a read."""

    reason = "DEADLINE_EXCEEDED"


LOG_TIME_KEY: Final = "log_time_ms"  # in the metadata of SessionExpired: what to draw the next client id with


class SessionExpired(ReplicatorError):
    """The cluster has forgotten this client id, or cannot tell: what became of an earlier try is lost."""

    reason = "SESSION_EXPIRED"


class Forbidden(ReplicatorError):
    """The caller's certificate or identity was refused."""

    reason = "FORBIDDEN"


class OutcomeUnknown(ReplicatorError):
    """The write may or may not have happened. Retrying it under the same write id is safe."""

    reason = "OUTCOME_UNKNOWN"
    applied = "unknown"
    retryable = True


class Internal(ReplicatorError):
    """A bug in the node. The outcome of a write is unknown."""

    reason = "INTERNAL"
    applied = "unknown"


_TRAVELLING: Final = (
    InvalidArgument, WriteIdReused, Compacted, InvalidToken, TokenAhead, Unavailable, NoLeader, NotLeader, ShuttingDown,
    Overloaded, StorageFull, ReplicaBehind, ChangeInProgress, NoMajority, DeadlineExceeded, SessionExpired, Forbidden,
    OutcomeUnknown, Internal,
)  # fmt: skip
ERROR_OF_REASON: Final[Mapping[str, type[ReplicatorError]]] = {error.reason: error for error in _TRAVELLING}
assert len(ERROR_OF_REASON) == len(_TRAVELLING), "reasons are unique"


def error_from_reason(
    reason: str, message: str, *, metadata: Mapping[str, str] | None = None, retry_after_s: float | None = None
) -> ReplicatorError:
    """The error that `reason` names; a reason of a newer release becomes Internal, which promises nothing."""
    return ERROR_OF_REASON.get(reason, Internal)(message, metadata=metadata, retry_after_s=retry_after_s)


class StartupError(Exception):
    """A node cannot start. The text is one line: the field or file, what is wrong, the remedy."""


class ConfigError(StartupError):
    """A configuration field is unknown, missing, contradictory or out of range.

    field: dotted path of the field, as in the file (`raft.profile`).
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class DataDirectoryError(StartupError):
    """The data directory must not be used: in use, another cluster's or node's, open to others, superseded, damaged."""


class StorageFailed(Exception):
    """A write or sync failed in a way that cannot be retried (EIO): the node must stop, loudly."""


class Superseded(StorageFailed):
    """Another copy of the data directory has run: nothing may be written to this one any more. Says the remedy."""


class CorruptData(StorageFailed):
    """What is on disk contradicts its checksum or itself."""


class OtherGroupsLog(Exception):
    """The log brings the membership of another group than the one that this node belongs to: it must stop.

    index: of the entry. It is not applied.
    """

    def __init__(self, *, index: LogIndex) -> None:
        super().__init__(
            f"entry {index} of this node's log brings a membership of another group than the one it belongs to: groups "
            "that were founded apart have been mixed, by copied data directories or by a member that does not run "
            "replicator. The entry was not applied"
        )
        self.index = index


class HistoryReplaced(Exception):
    """A leader sends another entry in place of one that is committed here: the node must stop, and not start again.

    index, term: of the entry that is committed here; other_term: of the one that is sent; by_term: of the leader. With
    the same term, the entries differ in what they say.
    """

    def __init__(self, *, index: LogIndex, term: Term, other_term: Term, by_term: Term) -> None:
        super().__init__(
            f"entry {index} of term {term} is committed here, and the leader of term {by_term} sends another one, of "
            f"term {other_term}, in its place: this node's data directory or those of the others are older copies, or "
            "the group was founded anew. Acknowledged writes are lost on one side"
        )
        self.index, self.term, self.other_term, self.by_term = index, term, other_term, by_term
