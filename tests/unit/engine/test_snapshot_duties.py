"""Orders, promises and offers between a leader, a neighbour of the receiver, and the receiver; driven by hand."""

from collections.abc import Sequence

import pytest

from replicator.engine.events import Frame, Outgoing
from replicator.engine.raft.messages import encode
from replicator.engine.snapshots.sources import PATIENCE_PERIODS
from replicator.model.ids import LogIndex, NodeId, Region, Term
from replicator.model.log import SnapshotManifest
from replicator.v1 import raft_pb2
from tests.support.left_behind import write_without
from tests.support.replicas import NAMES, HandCluster, HandNode, bodies

LEADER, OTHER, NEAR, RECEIVER = NAMES[:4]
KEEP = 20
PERIOD_S = 0.2
WEST, EAST = Region("west"), Region("east")
REGIONS = {LEADER: WEST, OTHER: WEST, NEAR: EAST, RECEIVER: EAST}


def a_manifest(index: int) -> SnapshotManifest:
    return SnapshotManifest(f"{index}-{'0' * 16}", "c", LogIndex(index), Term(1), bytes(16), 100, bytes(32))


@pytest.fixture
def cluster() -> HandCluster:
    """RECEIVER lacks what the leader has compacted; NEAR, in its region, has everything."""
    made = HandCluster(4, regions=REGIONS, log_entries_max=KEEP, snapshot_period_s=PERIOD_S)
    made.elect(LEADER)
    write_without(made, LEADER, RECEIVER, 3 * KEEP)
    made.cut = frozenset()
    made.wait(0.3)
    assert made[LEADER].replica.snapshots.lacking() == {RECEIVER}
    return made


def step(
    cluster: HandCluster, name: NodeId, held: SnapshotManifest | None = None, *, making: bool = False
) -> tuple[bool, Sequence[Outgoing]]:
    """One period of one node, and what it said in it; all of that arrives."""
    must_make = cluster[name].replica.snapshots.step(held, making=making)
    frames = cluster[name].turn()
    cluster.wire.extend((name, out) for out in frames)
    cluster.deliver()
    return must_make, frames


def says(node: HandNode, kind: str, to: NodeId) -> int:
    return len(bodies(node.turn(), kind, to=to))


def made_by(cluster: HandCluster, name: NodeId) -> SnapshotManifest:
    """A snapshot of what the node has applied."""
    return a_manifest(cluster[name].replica.applied_index)


def until_served_by_the_leader(cluster: HandCluster, periods_max: int) -> None:
    for _ in range(periods_max):
        cluster.wait(PERIOD_S)
        if step(cluster, LEADER)[0]:
            return
    raise AssertionError(f"the receiver waits for {periods_max} periods")


def test_a_neighbour_is_asked_makes_offers_and_promises_and_the_leader_makes_nothing(cluster: HandCluster) -> None:
    near, receiver = cluster[NEAR].replica, cluster[RECEIVER].replica
    must_make, frames = step(cluster, LEADER)
    (order,) = bodies(frames, "snapshot_wanted", to=NEAR)
    assert not must_make
    assert order.snapshot_wanted.index_min == cluster[LEADER].replica.journal.first_index
    assert near.snapshots.has_any()
    must_make, frames = step(cluster, NEAR)
    assert must_make
    assert [m.snapshot_promised.making for m in bodies(frames, "snapshot_promised", to=LEADER)] == [True]
    near.snapshots.made(made_by(cluster, NEAR))
    cluster.take(NEAR)
    cluster.deliver()
    assert receiver.snapshots.offered == (NEAR, made_by(cluster, NEAR))

    for _ in range(5 * PATIENCE_PERIODS):
        cluster.wait(PERIOD_S)
        assert not step(cluster, LEADER)[0]
        must_make, frames = step(cluster, NEAR, made_by(cluster, NEAR))
        assert not must_make
        assert len(bodies(frames, "snapshot_offer", to=RECEIVER)) == 1


def test_what_a_neighbour_offers_is_what_it_has_applied(cluster: HandCluster) -> None:
    """It is not asked to make what it cannot have: an index beyond its own is waited for."""
    near = cluster[NEAR]
    beyond = near.replica.applied_index + 1
    wanted = raft_pb2.SnapshotWanted(term=near.replica.graft.term, receiver=RECEIVER, index_min=beyond)
    near.hear(LEADER, snapshot_wanted=wanted)
    must_make, frames = step(cluster, NEAR)
    assert (must_make, bodies(frames, "snapshot_promised")) == (False, [])
    cluster.write(b"one more")
    cluster.wait(0.1)

    assert near.replica.applied_index >= beyond
    assert step(cluster, NEAR)[0]


def test_a_neighbour_that_is_silent_is_given_up(cluster: HandCluster) -> None:
    step(cluster, LEADER)
    until_served_by_the_leader(cluster, PATIENCE_PERIODS + 2)


def test_a_neighbour_without_a_link_to_the_receiver_promises_nothing_and_is_given_up(cluster: HandCluster) -> None:
    cluster.disconnect(NEAR, RECEIVER)
    step(cluster, LEADER)
    must_make, frames = step(cluster, NEAR)
    assert (must_make, bodies(frames, "snapshot_promised")) == (False, [])

    until_served_by_the_leader(cluster, PATIENCE_PERIODS + 2)


def test_a_link_to_the_receiver_may_come_up_after_the_order(cluster: HandCluster) -> None:
    """A node that starts is linked to its leader first, and to its neighbour a moment later."""
    cluster.disconnect(NEAR, RECEIVER)
    step(cluster, LEADER)
    step(cluster, NEAR)
    cluster.connect(NEAR, RECEIVER)

    assert step(cluster, NEAR)[0]


@pytest.mark.parametrize("trouble", ["no room", "drain", "cannot be fetched from"])
def test_a_neighbour_that_cannot_is_replaced_in_the_next_period(cluster: HandCluster, trouble: str) -> None:
    near = cluster[NEAR].replica
    if trouble == "drain":
        near.drain()
    step(cluster, LEADER)
    if trouble == "no room":
        assert step(cluster, NEAR)[0]
        near.snapshots.could_not_make("no room")
        cluster.take(NEAR)
    if trouble == "cannot be fetched from":
        step(cluster, NEAR, made_by(cluster, NEAR))
        cluster[RECEIVER].replica.snapshots.could_not_take(NEAR)
        cluster.take(RECEIVER)
    cluster.deliver()

    assert step(cluster, LEADER)[0]
    assert bodies(step(cluster, LEADER)[1], "snapshot_wanted") == []


def test_a_neighbour_whose_snapshot_the_log_has_left_behind_makes_another_one(cluster: HandCluster) -> None:
    step(cluster, LEADER)
    old = made_by(cluster, NEAR)
    step(cluster, NEAR, old)
    for key in range(3 * KEEP):
        cluster.write(b"more%d" % key)
    step(cluster, LEADER)
    assert old.index < cluster[LEADER].replica.journal.first_index
    must_make, frames = step(cluster, NEAR, old)

    assert must_make
    assert bodies(frames, "snapshot_offer") == []


def test_a_promise_of_what_the_log_has_left_behind_counts_for_nothing(cluster: HandCluster) -> None:
    """Say that the neighbour does not hear how far the log has moved."""
    leader = cluster[LEADER].replica
    step(cluster, LEADER)
    cluster.cut = frozenset({(LEADER, NEAR)})
    for _ in range(PATIENCE_PERIODS + 2):
        promised = raft_pb2.SnapshotPromised(term=leader.graft.term, receiver=RECEIVER, index=1)
        cluster[LEADER].hear(NEAR, snapshot_promised=promised)
        cluster.clock.forward(PERIOD_S)
        if cluster[LEADER].replica.snapshots.step(None, making=False):
            return
    raise AssertionError("the leader goes on believing it")


def test_a_leader_that_cannot_make_one_asks_somebody_else(cluster: HandCluster) -> None:
    """Nobody of the receiver's region can be reached, and the leader's disk is full."""
    cluster.disconnect(LEADER, NEAR)
    leader = cluster[LEADER].replica
    assert step(cluster, LEADER)[0]
    leader.snapshots.could_not_make("no room")
    must_make, frames = step(cluster, LEADER)

    assert not must_make
    assert len(bodies(frames, "snapshot_wanted", to=OTHER)) == 1


# An order ends -----------------------------------------------------------------------------------------------------


def test_an_order_ends_when_it_is_not_repeated(cluster: HandCluster) -> None:
    step(cluster, LEADER)
    assert cluster[NEAR].replica.snapshots.has_any()
    cluster.wait((PATIENCE_PERIODS + 1) * PERIOD_S)

    assert not cluster[NEAR].replica.snapshots.has_any()


def test_an_order_ends_with_the_term_of_who_gave_it(cluster: HandCluster) -> None:
    step(cluster, LEADER)
    assert cluster[NEAR].replica.snapshots.has_any()
    cluster.elect(OTHER)
    must_make, frames = step(cluster, NEAR, made_by(cluster, NEAR))

    assert not cluster[NEAR].replica.snapshots.has_any()
    assert not must_make
    assert bodies(frames, "snapshot_offer") == bodies(frames, "snapshot_promised") == []


def test_a_deposed_leader_that_orders_is_told_and_not_obeyed(cluster: HandCluster) -> None:
    old_term = cluster[LEADER].replica.graft.term
    cluster.elect(OTHER)
    wanted = raft_pb2.SnapshotWanted(term=old_term, receiver=RECEIVER, index_min=1)
    frames = cluster[NEAR].hear(LEADER, snapshot_wanted=wanted)

    assert len(bodies(frames, "stale_term", to=LEADER)) == 1
    assert not cluster[NEAR].replica.snapshots.has_any()


@pytest.mark.parametrize(("sender", "ahead"), [(LEADER, 1), (OTHER, 0)], ids=["unheard term", "not the leader"])
def test_only_the_leader_that_a_node_follows_is_obeyed(cluster: HandCluster, sender: NodeId, ahead: int) -> None:
    near = cluster[NEAR]
    wanted = raft_pb2.SnapshotWanted(term=near.replica.graft.term + ahead, receiver=RECEIVER, index_min=1)
    near.hear(sender, snapshot_wanted=wanted)

    assert not near.replica.snapshots.has_any()


def test_what_was_promised_to_a_leader_of_another_term_is_void(cluster: HandCluster) -> None:
    leader = cluster[LEADER].replica
    step(cluster, LEADER)
    refused = raft_pb2.SnapshotPromised(term=leader.graft.term - 1, receiver=RECEIVER, refused="no")
    cluster[LEADER].hear(NEAR, snapshot_promised=refused)
    cluster[LEADER].hear(RECEIVER, snapshot_not_taken=raft_pb2.SnapshotNotTaken(term=99, source=NEAR))

    assert len(bodies(step(cluster, LEADER)[1], "snapshot_wanted", to=NEAR)) == 1


@pytest.mark.parametrize(("receiver", "index_min"), [(NEAR, 1), (LEADER, 1), (RECEIVER, 0)])
def test_an_order_that_no_leader_gives_costs_the_peer_its_link(
    cluster: HandCluster, receiver: NodeId, index_min: int
) -> None:
    near = cluster[NEAR]
    wanted = raft_pb2.SnapshotWanted(term=near.replica.graft.term, receiver=receiver, index_min=index_min)
    epoch = near.replica.link_epoch(LEADER)
    assert epoch is not None
    turn = near.open(Frame(LEADER, epoch, encode(raft_pb2.RaftMessage(snapshot_wanted=wanted))))
    near.close(turn)

    assert len(turn.bad_links) == 1
