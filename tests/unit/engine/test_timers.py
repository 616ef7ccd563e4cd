"""Timers that change while a node runs: everybody reads those in force, and SyncObj obeys them."""

import pytest

from replicator.config.timing import RaftTiming
from replicator.engine.events import Outgoing
from replicator.engine.leading.timing_changes import PROPOSE_AGAIN_S
from replicator.engine.raft.timers import timing_of_wire, timing_to_wire
from replicator.engine.write_behind import STATE_DELAY_S_MAX
from replicator.model.errors import ConfigError
from replicator.model.ids import NodeId
from replicator.v1 import raft_pb2, store_pb2
from tests.support.replicas import LAN, NAMES, HandCluster, bodies

A, B, C = NAMES[:3]
SLOW = RaftTiming(0.5, 5.0, 10.0)
WAN = RaftTiming(0.15, 1.5, 3.0)


def test_timers_go_through_the_log_and_come_back() -> None:
    for timing in (LAN, WAN, SLOW):
        assert timing_of_wire(timing_to_wire(timing)) == timing


def test_timers_that_no_node_may_use_are_refused_from_the_log_as_well() -> None:
    with pytest.raises(ConfigError):
        timing_of_wire(store_pb2.Timing(heartbeat_ms=100, election_timeout_min_ms=300, election_timeout_max_ms=600))


# What obeys them ----------------------------------------------------------------------------------------------------


def test_the_next_election_deadline_is_drawn_from_the_timers_in_force() -> None:
    """SyncObj reads its settings anew for each deadline; an append draws the next one."""
    cluster = HandCluster(3)
    cluster.elect(A)
    follower = cluster[B].replica
    follower.timers.set(SLOW)
    cluster.wait(0.1)

    assert 5.0 <= follower.graft.election_deadline_s - cluster.clock.now_s <= 10.0


def test_a_follower_with_longer_timers_than_a_candidate_protects_the_leader() -> None:
    """Leader stickiness is the answering node's: it has heard the leader within its own election timeout."""
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster[C].replica.timers.set(SLOW)
    cluster.clock.forward(4.9)
    term = cluster[C].replica.graft.term
    asked = raft_pb2.PreVote(term=term + 1, last_index=1000, last_term=term)
    early = bodies(cluster[C].hear(B, pre_vote=asked), "pre_vote_reply")
    cluster.clock.forward(0.2)
    late = bodies(cluster[C].hear(B, pre_vote=asked), "pre_vote_reply")

    assert [message.pre_vote_reply.granted for message in (*early, *late)] == [False, True]


@pytest.mark.parametrize("timing", [LAN, WAN, SLOW])
def test_a_cut_off_leader_steps_down_within_the_election_timeout_in_force(timing: RaftTiming) -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    leader.replica.timers.set(timing)
    cluster.wait(0.1)
    since_s = cluster.clock.now_s
    while leader.replica.graft.is_leader:
        leader.wait(0.02)
        assert cluster.clock.now_s - since_s < timing.election_timeout_max_s + 0.05
    assert cluster.clock.now_s - since_s >= timing.election_timeout_max_s - 0.1


def test_a_leader_beats_as_often_as_the_timers_in_force_say() -> None:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    leader.replica.timers.set(SLOW)
    leader.wait(0.06)

    assert 0.45 <= leader.replica.next_due_s() - cluster.clock.now_s <= 0.51


def test_a_replica_that_is_born_anew_keeps_the_timers_in_force() -> None:
    """Its engine is new, and would begin with those of the settings."""
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.wait(2 * STATE_DELAY_S_MAX)
    node = cluster[B]
    node.replica.timers.set(SLOW)
    node.replica = node.replica.reborn(node.disk, node.disk.store.applied_index)
    cluster.wait(0.1)

    assert node.replica.timers.timing == SLOW
    assert 5.0 <= node.replica.graft.election_deadline_s - cluster.clock.now_s <= 10.0


# What a leader wants ------------------------------------------------------------------------------------------------


class AutoCluster(HandCluster):
    """Links take `one_way_s`. What a leader wants is noted, and in force everywhere if `agrees`."""

    def __init__(self, one_way_s: float, *, timing: RaftTiming = WAN, auto: bool = True) -> None:
        super().__init__(3, auto_timing=auto)
        self.one_way_s, self.agrees = one_way_s, True
        self.wanted: list[RaftTiming] = []
        for node in self.nodes.values():
            node.replica.timers.set(timing)
            node.replica.members.propose_timing = self._note  # type: ignore[method-assign]

    def _note(self, timing: RaftTiming) -> None:
        self.wanted.append(timing)
        if self.agrees:
            for node in self.nodes.values():
                node.replica.timers.set(timing)

    def live(self, seconds: float, step_s: float = 0.01) -> None:
        """As `wait`, but frames take their time."""
        flying: list[tuple[float, tuple[NodeId, Outgoing]]] = []
        for _ in range(round(seconds / step_s)):
            self.clock.forward(step_s)
            for name in self.nodes:
                self.take(name)
            flying += [(self.clock.now_s + self.one_way_s, item) for item in self.wire]
            self.wire.clear()
            due = [item for at_s, item in flying if at_s <= self.clock.now_s]
            flying = [(at_s, item) for at_s, item in flying if at_s > self.clock.now_s]
            for sender, out in due:
                if (sender, out.peer) not in self.cut:
                    self.hand_over(sender, out)


@pytest.mark.parametrize(("one_way_s", "longest_s"), [(0.1, 3.0), (0.25, 6.0)])
def test_a_leader_wants_timers_of_ten_round_trips_within_seconds(one_way_s: float, longest_s: float) -> None:
    cluster = AutoCluster(one_way_s)
    cluster.elect(A)
    cluster.live(16.0)
    election_s = cluster[A].replica.timers.timing.election_timeout_min_s

    assert 2 * one_way_s * 10 <= election_s <= longest_s
    assert len(cluster.wanted) <= 2


def test_on_a_short_path_a_leader_comes_to_what_lan_has() -> None:
    cluster = AutoCluster(0.001, timing=RaftTiming(0.06, 0.6, 1.2))
    cluster.elect(A)
    cluster.live(75.0, step_s=0.004)

    assert cluster.wanted == [LAN]


def test_with_fixed_timers_nothing_is_ever_wanted() -> None:
    cluster = AutoCluster(0.2, auto=False)
    cluster.elect(A)
    cluster.live(10.0)

    assert cluster.wanted == []


def test_a_proposal_is_given_time_and_then_made_again() -> None:
    cluster = AutoCluster(0.25)
    cluster.agrees = False
    cluster.elect(A)
    cluster.live(10.0)
    before = len(cluster.wanted)
    cluster.live(2 * PROPOSE_AGAIN_S)

    assert len(cluster.wanted) - before == 2
    assert len(set(cluster.wanted)) == 1


def test_a_voter_that_does_not_answer_does_not_count() -> None:
    """The other one makes a majority; C comes back much later, and is measured before it counts."""
    cluster = AutoCluster(0.25)
    cluster.cut = frozenset({(A, C), (C, A)})
    cluster.elect(A)
    cluster.live(16.0)

    assert cluster[A].replica.pump.progress[C].round_trip.samples == 0
    assert cluster[A].replica.timers.timing.election_timeout_min_s >= 5.0


# Timers shorter than the path ---------------------------------------------------------------------------------------


def committed_in_the_newest_term(cluster: HandCluster) -> bool:
    newest = max(node.replica.graft.term for node in cluster.nodes.values())
    return any(
        node.replica.graft.term == newest and node.replica.pump.term_is_committed() for node in cluster.nodes.values()
    )


def test_with_fixed_timers_shorter_than_a_round_trip_nobody_ever_leads_for_long() -> None:
    """An elected leader gives up before a majority can have answered. So this is what the next test cures."""
    cluster = AutoCluster(0.5, timing=LAN, auto=False)
    cluster.live(120.0)

    assert not committed_in_the_newest_term(cluster)


@pytest.mark.parametrize("one_way_s", [0.35, 0.5, 1.0])
def test_nodes_that_find_no_leader_wait_longer_until_one_has_better_timers_agreed(one_way_s: float) -> None:
    """Agreement needs a leader, and a leader needs timers that suit the path."""
    cluster = AutoCluster(one_way_s, timing=LAN)
    for _ in range(30):
        cluster.live(10.0)
        if cluster.wanted and cluster.wanted[-1].election_timeout_min_s >= 5.0:
            break
    cluster.live(150.0)  # long after nobody stretches what is agreed

    assert committed_in_the_newest_term(cluster)
    for node in cluster.nodes.values():
        assert node.replica.timers.timing == node.replica.timers.agreed == cluster.wanted[-1]
