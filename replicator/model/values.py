"""What calls return. Frozen, plain, the same for the SDK, the CLI and the harness."""

from dataclasses import dataclass, field
from enum import Enum


class Consistency(Enum):
    """What a read promises; see the table in docs/consistency.md."""

    LINEARIZABLE = "linearizable"
    CAUSAL = "causal"
    BOUNDED = "bounded"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One live pair. `version` counts the writes to the key since it was created."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all keys with this prefix; empty if there is none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else b""


@dataclass(frozen=True, slots=True)
class ScanPage:
    """Some pairs of a scan, in key order; may be none. revision: the one that all pages of the scan show.

    token: a causal token that covers it. staleness_ms: upper bound of its age, None if the node cannot tell.
    """

    pairs: tuple[KeyValue, ...]
    revision: int
    token: str
    staleness_ms: float | None


@dataclass(slots=True)
class PairColumns:
    """Pairs by position, in columns. mod_revisions: 0 where the key does not exist; the other columns are empty there.

    Costs no object a pair: a batch of reads holds hundreds.
    """

    values: list[bytes] = field(default_factory=list)
    create_revisions: list[int] = field(default_factory=list)
    mod_revisions: list[int] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PutResult:
    """revision: the store revision of this write. token: a causal token that covers it."""

    revision: int
    token: str


@dataclass(frozen=True, slots=True)
class GetResult:
    """value: None if the key does not exist; mod_revision, create_revision and version are then 0.

    revision: store revision that the read saw. staleness_ms: upper bound of its age, None if the node cannot tell.
    node_id, region: who answered.
    """

    key: bytes
    value: bytes | None
    mod_revision: int
    create_revision: int
    version: int
    revision: int
    token: str
    staleness_ms: float | None
    node_id: str
    region: str


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """deleted: False if there was nothing to delete."""

    deleted: bool
    revision: int
    token: str


@dataclass(frozen=True, slots=True)
class CompareAndSetResult:
    """revision: of this write if it succeeded, of the store if not. mod_revision: of the pair as it is now.

    value: what was found, if the comparison failed. None and 0 if the key does not exist.
    """

    succeeded: bool
    revision: int
    value: bytes | None
    mod_revision: int
    token: str


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """One member as the answering node sees it. match_index and lag_entries are known to the leader only.

    role: `voter`, `observer`, or `joining` (a voter to be, catching up).
    linked_at: where the answering node dialled its link to the member, if that is not peer_address but the address in
    its own file; empty otherwise.
    """

    node_id: str
    region: str
    api_address: str
    peer_address: str
    connected: bool
    leader: bool
    match_index: int | None
    lag_entries: int | None
    role: str
    linked_at: str = ""


@dataclass(frozen=True, slots=True)
class MembershipResult:
    """index: log index of this membership; 0: that of the configuration. members: as the answering node sees them."""

    index: int
    members: tuple[MemberStatus, ...]


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What one node knows of itself and its cluster.

    membership_index: log index of the membership that it has applied; 0: that of its configuration. The three timers
    are those in force. no_majority: which voters are not connected, and since when, if too few are and no leader is
    heard. state_difference: members that have made another state of the same log, as the leader has found. log_time_ms:
    time of the group, as this node knows it. snapshot_problem: why it cannot take a snapshot that it needs, or make
    one for another node, if so.
    """

    cluster_id: str
    node_id: str
    region: str
    version: str
    role: str
    term: int
    leader_id: str
    commit_index: int
    applied_index: int
    last_index: int
    revision: int
    live_keys: int
    data_bytes: int
    staleness_ms: float | None
    rolling_hash: str
    state_hash: str
    state_hash_index: int
    read_only_reason: str
    members: tuple[MemberStatus, ...]
    token: str
    uptime_s: float
    membership_index: int
    heartbeat_ms: int
    election_timeout_min_ms: int
    election_timeout_max_ms: int
    no_majority: str = ""
    state_difference: str = ""
    log_time_ms: int = 0
    snapshot_problem: str = ""
