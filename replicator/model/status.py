"""What the engine says of itself. A value, so that services and tests need no engine to speak of one."""

from dataclasses import dataclass

from replicator.model.ids import EntryCount, LogIndex, NodeId, Term
from replicator.model.members import Membership


@dataclass(frozen=True, slots=True)
class PeerProgress:
    """One other member as this node sees it. match_index and lag_entries are known to the leader only.

    connected: the link is up; and, at the leader, the member has not been silent on it for an election timeout.
    """

    node_id: NodeId
    connected: bool
    match_index: LogIndex | None
    lag_entries: EntryCount | None


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """role: 'follower', 'candidate' or 'leader'. leader_id: empty if this node knows no leader.

    read_only_reason: why the node refuses writes (a full disk); empty if it takes them. refused_by: a member of the
    group that does not let this node in, while no leader is heard; empty if there is none. no_majority: which voters
    are not connected, and since when, if too few are and no leader is heard. state_difference: members that have made
    another state of the same log, as the leader has found. log_time_ms: time of the group, as this node knows it.
    snapshot_problem: why the node cannot take the snapshot that it needs, or make one that another needs; else empty.
    """

    role: str
    term: Term
    leader_id: str
    commit_index: LogIndex
    applied_index: LogIndex
    last_index: LogIndex
    read_only_reason: str
    membership: Membership
    peers: tuple[PeerProgress, ...]
    refused_by: str = ""
    no_majority: str = ""
    state_difference: str = ""
    log_time_ms: int = 0
    snapshot_problem: str = ""
