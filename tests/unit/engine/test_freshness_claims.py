"""What leaders and followers say about how old their state is: never younger than it is, and nothing when unknown."""

from tests.support.commands import put
from tests.support.replicas import NAMES, HandCluster, HandNode, bodies, frame

A, B, C = NAMES[:3]


def test_a_leader_that_has_not_committed_in_its_term_claims_no_freshness() -> None:
    """It does not know how far its predecessors came: unknown is None, not infinitely old."""
    cluster = HandCluster(3)
    leader = cluster.elect_unheard(A)

    assert leader.replica.staleness_s() is None


def test_a_leader_that_has_not_committed_in_its_term_promises_its_followers_nothing() -> None:
    """Even if it has heard their clocks, in an earlier term of its own."""
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.wait(0.2)
    cluster.elect(B)
    leader = cluster.elect_unheard(A)
    assert leader.replica.pump.progress[B].peer_clock_ms is not None
    appends = bodies([out for _, out in cluster.wire], "append_entries", to=B)

    assert appends
    assert not any(append.append_entries.HasField("echo_clock_ms") for append in appends)


def test_once_its_no_op_is_committed_leader_and_followers_know_their_age() -> None:
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.wait(0.3)

    for name in (A, B, C):
        staleness_s = cluster[name].replica.staleness_s()
        assert staleness_s is not None
        assert staleness_s < 0.5


def test_a_leader_that_was_suspended_does_not_take_its_state_for_fresh() -> None:
    """Before its first turn after that, too: another leader may have written meanwhile."""
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.wait(0.3)

    cluster.clock.now_s += 9.0  # as a clock that counts time asleep

    staleness_s = leader.replica.staleness_s()
    assert staleness_s is not None
    assert staleness_s >= 9.0


def test_a_node_alone_is_as_fresh_as_now() -> None:
    node = HandNode(A, [])
    for _ in range(10):
        node.wait(0.1)

    assert node.replica.staleness_s() == 0.0


def test_a_heartbeat_during_a_slow_commit_does_not_make_a_lagging_follower_look_fresh() -> None:
    """Its commit index stops at what the follower holds, although more was acknowledged to callers."""
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.wait(0.3)
    cluster.hold = frozenset({(A, C)})
    cluster.write(b"second to last")
    last = cluster.write(b"last")  # acknowledged by A and B
    acknowledged_at_s = cluster.clock.now_s
    cluster.hold = frozenset({(A, C), (C, A)})
    cluster.wait(0.1)
    cluster.hand_over(*cluster.late.pop(0))  # C is slow: it takes and answers the first of two appends
    cluster.deliver()
    answers = [out for sender, out in cluster.late if sender == C]
    leader.replica.proposals.offer(put(b"next"), lambda _result: None)
    leader.open(*(frame(C, out.epoch, append_reply=reply.append_reply)
                  for out in answers for reply in bodies([out], "append_reply")))  # fmt: skip
    beats = bodies(leader.replica.heartbeat_while_committing(), "append_entries", to=C)
    assert [beat.append_entries.commit_index for beat in beats] == [last - 1]
    for beat in beats:
        cluster[C].hear(A, append_entries=beat.append_entries)

    staleness_s = cluster[C].replica.staleness_s()
    assert cluster[C].replica.applied_index < last
    assert staleness_s is None or cluster.clock.now_s - staleness_s <= acknowledged_at_s
