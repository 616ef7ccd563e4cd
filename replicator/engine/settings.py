"""What the engine is told, and the stock configuration that follows from it.

A misspelt option of SyncObjConf is accepted in silence and its `validate` is bare asserts: the names are checked here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pysyncobj import SyncObjConf

from replicator.config.timing import RaftTiming
from replicator.model.ids import NodeId, Region
from replicator.model.members import Membership

_NEVER: Final = 10**9  # for stock machinery that must not run: the store is its own snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """One node's place in its group.

    membership: of a new group; what the log brought since counts more. directory_id: of this node's data directory.
    joining: it began empty, in a group that was there before it; its membership is then empty at first.
    leader_preference: regions, the most preferred first; empty: no region is preferred.
    timing: what to begin with; auto_timing: the leader derives others from what it measures.
    proposals_queued_max, proposals_queued_bytes_max: what may wait for the next turn; beyond it callers get Overloaded.
    backlog_bytes: of writes that are queued, uncommitted, or passed on and not answered; up to that, what
    can be applied before its deadline is admitted; beyond it, what need not wait for more than a second either.
    append_bytes_max: entries sent in one message, unless a single one is larger; less on a path that carries little.
    in_flight_bytes_max: entries under way to one peer; less if round trip and rate of the path call for less.
    log_entries_max, log_bytes_max: the log is compacted beyond either; who lacks what is gone gets a snapshot.
    snapshot_period_s: how often snapshots are offered, asked for and promised; any of that may be lost.
    uncommitted_bytes_max: what a leader may append before a majority holds it; beyond it proposals wait in the queue.
    new_secret: draws GROUP_SECRET_BYTES for a group that this node founds, from a source that nobody can guess.
    """

    cluster_id: str
    node_id: NodeId
    membership: Membership
    timing: RaftTiming
    new_secret: Callable[[], bytes]
    auto_timing: bool = False
    directory_id: bytes = b""
    joining: bool = False
    leader_preference: tuple[Region, ...] = ()
    proposals_queued_max: int = 8192
    proposals_queued_bytes_max: int = 64 << 20
    backlog_bytes: int = 2 << 20
    uncommitted_bytes_max: int = 64 << 20
    append_bytes_max: int = 1 << 20
    in_flight_bytes_max: int = 16 << 20
    log_entries_max: int = 100_000
    log_bytes_max: int = 512 << 20
    snapshot_period_s: float = 2.0


def timer_options(timing: RaftTiming) -> dict[str, float]:
    """SyncObjConf's names for our timers. A leader steps down once it has heard no majority for an election timeout."""
    return {
        "raftMinTimeout": timing.election_timeout_min_s,
        "raftMaxTimeout": timing.election_timeout_max_s,
        "appendEntriesPeriod": timing.heartbeat_s,
        "connectionTimeout": timing.election_timeout_max_s,
        "leaderFallbackTimeout": timing.election_timeout_max_s,
    }


def stock_conf(settings: EngineSettings, **hooks: Any) -> SyncObjConf:
    """SyncObjConf for `settings`: driven by us, no stock snapshots, no pickled membership, no TCP."""
    options: dict[str, Any] = {
        "autoTick": False,
        **timer_options(settings.timing),
        "appendEntriesUseBatch": False,  # with True, entries and commit notices wait for the next heartbeat
        "commandsWaitLeader": False,
        "logCompactionMinEntries": _NEVER,
        "logCompactionMinTime": _NEVER,
        "dynamicMembershipChange": False,
        "useFork": False,
        **hooks,
    }
    known = vars(SyncObjConf())
    unknown = [name for name in options if name not in known]
    assert not unknown, f"pysyncobj has no option {unknown}"
    return SyncObjConf(**options)
