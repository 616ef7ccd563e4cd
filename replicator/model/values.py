"""What calls return. Frozen, plain, the same for the SDK, the CLI and the harness."""

from dataclasses import dataclass
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
    """revision: of this write if it succeeded, of the store if not. value, mod_revision: what was found, if it lost."""

    succeeded: bool
    revision: int
    value: bytes | None
    mod_revision: int
    token: str


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """One member as the answering node sees it. match_index and lag_entries are known to the leader only.

    role: `voter`, `observer`, or `joining` (a voter to be, catching up).
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
    heard.
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
