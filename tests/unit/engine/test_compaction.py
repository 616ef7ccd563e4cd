"""A bounded log: what is gone is never asked for, who lacks it is noticed, and a snapshot is like a restart."""

import pytest

from replicator.engine.events import Frame
from replicator.engine.leading.request_table import WRITE, WriteRequest
from replicator.engine.raft.messages import encode
from replicator.engine.stock import journal
from replicator.engine.write_behind import STATE_DELAY_S_MAX
from replicator.model.errors import OutcomeUnknown, ShuttingDown
from replicator.model.ids import LogIndex, NodeId, Term
from replicator.model.log import SnapshotManifest
from replicator.v1 import raft_pb2
from tests.support.commands import put
from tests.support.left_behind import write_without
from tests.support.replicas import NAMES, HandCluster, HandNode, bodies

A, B, C = NAMES[:3]
KEEP = 20


def a_manifest(index: int, term: int = 1) -> SnapshotManifest:
    return SnapshotManifest(f"{index}-{'0' * 16}", "c", LogIndex(index), Term(term), bytes(16), 100, bytes(32))


def a_leader_beyond(lagging: NodeId, writes: int = 3 * KEEP) -> tuple[HandCluster, HandNode]:
    """A leads, `lagging` hears nothing of it, and the log moves on."""
    cluster = HandCluster(3, log_entries_max=KEEP)
    leader = cluster.elect(A)
    cluster.wait(0.1)
    write_without(cluster, A, lagging, writes)
    return cluster, leader


def test_the_log_stays_within_its_bound_and_keeps_what_is_not_applied() -> None:
    _, leader = a_leader_beyond(C, writes=10 * KEEP)

    assert len(leader.disk.entries) <= 2 * KEEP
    assert leader.disk.entries[0].index == leader.replica.journal.first_index > 1
    assert leader.disk.entries[-1].index == leader.replica.journal.last_index


def test_who_lacks_what_is_gone_is_noticed_and_gets_no_entries_that_it_cannot_take() -> None:
    cluster, leader = a_leader_beyond(C)
    cluster.cut = frozenset()
    cluster.wait(0.3)

    assert leader.replica.snapshots.lacking() == {C}
    frames = leader.wait(0.1)
    assert [len(m.append_entries.entries) for m in bodies(frames, "append_entries", to=C)] == [0]
    assert cluster[B].replica.snapshots.lacking() == frozenset()


def test_who_lacks_what_is_gone_is_asked_no_more_often_than_others() -> None:
    """Of several appends under way one is corrected; the rejections of the others once called for an append each."""
    cluster, leader = a_leader_beyond(C)
    cluster.cut = frozenset()
    cluster.wait(0.3)
    sent = {peer: leader.replica.pump.progress[peer].sent for peer in (B, C)}
    for _ in range(5):
        leader.replica.reads.ask(lambda _result: None)
        cluster.take(A)
    cluster.deliver()

    assert leader.replica.snapshots.lacking() == {C}
    for peer, before in sent.items():
        assert leader.replica.pump.progress[peer].sent <= before + 6


def test_a_heartbeat_during_the_commit_that_compacts_needs_nothing_that_may_be_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The disk is ahead of the journal there: it may have deleted what the journal still counts as held."""
    monkeypatch.setattr(journal, "CACHE_BYTES_MAX", 200)
    cluster, leader = a_leader_beyond(C, writes=KEEP + 5)
    assert leader.replica.graft.match_index(C) >= leader.replica.journal.first_index
    while True:
        leader.replica.proposals.offer(put(b"k"), lambda _result: None)
        turn = leader.open()
        outcomes = leader.disk.commit(turn.write)  # done on its thread; the loop has not heard of it yet
        beats = leader.replica.heartbeat_while_committing()
        assert bodies(beats, "append_entries", to=B)
        cluster.wire.extend(
            (A, out) for out in (*turn.early_frames, *leader.replica.applied(outcomes), *leader.replica.committed())
        )
        cluster.deliver()
        if turn.write.compact_to is not None:
            return


def test_an_append_from_before_our_first_entry_acknowledges_what_was_committed_and_deletes_nothing() -> None:
    """A leader that does not know how far we are starts early; all that we compacted is the same in its log."""
    cluster = HandCluster(3, log_entries_max=KEEP)
    leader = cluster.elect(A)
    early = []
    for key in range(3):
        leader.replica.proposals.offer(put(b"%d" % key), lambda _result: None)
        frames = leader.turn()
        early += [out for out in frames if out.peer == B]
        cluster.wire.extend((A, out) for out in frames)
        cluster.deliver()
    for key in range(3 * KEEP):
        cluster.write(b"more%d" % key)
    cluster.wait(0.1)
    node = cluster[B]
    before, first = node.log(), node.replica.journal.first_index
    (reply,) = bodies(node.turn(Frame(A, early[0].epoch, early[0].payload)), "append_reply")

    assert first > bodies(early, "append_entries")[0].append_entries.entries[-1].index
    assert (reply.append_reply.success, reply.append_reply.next_index) == (True, first + 1)
    assert node.log() == before


# Offers -----------------------------------------------------------------------------------------------------------


def an_offer(index: int, term: int, index_term: int = 1) -> raft_pb2.SnapshotOffer:
    manifest = a_manifest(index)
    return raft_pb2.SnapshotOffer(
        term=term, snapshot_id=manifest.snapshot_id, index=index, index_term=index_term, rolling_hash=bytes(16),
        size_bytes=100, digest=bytes(32),
    )  # fmt: skip


def test_an_offer_reaches_the_follower_as_it_was_made() -> None:
    cluster, leader = a_leader_beyond(C)
    manifest = a_manifest(leader.replica.applied_index)
    cluster.cut = frozenset()
    cluster.wait(0.3)
    assert not leader.replica.snapshots.step(manifest, making=False)
    cluster.take(A)
    cluster.deliver()

    assert cluster[C].replica.snapshots.offered == (A, manifest)


def test_an_offer_of_what_is_applied_already_is_ignored() -> None:
    cluster, _ = a_leader_beyond(C)
    cluster[B].hear(A, snapshot_offer=an_offer(cluster[B].replica.applied_index, term=1))

    assert cluster[B].replica.snapshots.offered is None


def test_a_leader_of_an_earlier_term_that_offers_is_told() -> None:
    cluster, _ = a_leader_beyond(C)
    cluster.elect(B)
    cluster.cut = frozenset()
    cluster.wait(0.1)
    frames = cluster[C].hear(A, snapshot_offer=an_offer(500, term=1))

    assert cluster[C].replica.snapshots.offered is None
    assert len(bodies(frames, "stale_term", to=A)) == 1


@pytest.mark.parametrize("field", ["snapshot_id", "index_term"])
def test_an_offer_that_no_leader_makes_costs_the_peer_its_link(field: str) -> None:
    """The id becomes the name of a file."""
    node = HandNode(A, [B, C])
    node.link(B)
    offer = an_offer(500, term=1)
    setattr(offer, field, {"snapshot_id": "../../etc", "index_term": 9}[field])
    turn = node.open(Frame(B, 1, encode(raft_pb2.RaftMessage(snapshot_offer=offer))))

    assert len(turn.bad_links) == 1
    node.close(turn)
    assert node.replica.snapshots.offered is None


# A snapshot is taken over -----------------------------------------------------------------------------------------


def test_a_replica_over_a_new_store_keeps_its_links_its_promises_and_its_request_numbers() -> None:
    """Callers that waited are told that the outcome is unknown; answers to them are not taken for answers to others."""
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.wait(2 * STATE_DELAY_S_MAX)
    node, answers = cluster[B], list[object]()
    first = node.replica.forwards.ask(A, WRITE, WriteRequest(put(b"k")), answers.append)
    node.replica.drain()
    reborn = node.replica.reborn(node.disk, node.disk.store.applied_index)
    second = reborn.forwards.ask(A, WRITE, WriteRequest(put(b"l")), answers.append)

    assert [type(answer) for answer in answers] == [OutcomeUnknown]
    assert second > first
    assert reborn.linked == node.replica.linked
    assert reborn.forwards.refusing, "a draining node still drains"
    assert reborn.journal.hard_state == node.replica.journal.hard_state


def test_a_draining_node_refuses_forwarded_writes_also_after_it_took_over_a_snapshot() -> None:
    cluster = HandCluster(3)
    cluster[A].replica.drain()
    cluster[A].replica = cluster[A].replica.reborn(cluster[A].disk, cluster[A].disk.store.applied_index)
    leader = cluster.elect(A)
    frames = leader.hear(B, forward=raft_pb2.Forward(request_id=1, command=put(b"k")))

    assert [m.forward_reply.refused for m in bodies(frames, "forward_reply")] == [ShuttingDown.reason]


def test_the_role_that_ends_with_the_old_store_is_told() -> None:
    """A candidate becomes a follower."""
    cluster = HandCluster(3)
    node = cluster.campaign(A)
    node.observer.roles.clear()
    node.replica.reborn(node.disk, node.disk.store.applied_index)

    assert node.observer.roles == ["follower"]


def test_a_leader_is_never_reborn() -> None:
    leader = HandCluster(3).elect(A)
    with pytest.raises(AssertionError):
        leader.replica.reborn(leader.disk, leader.disk.store.applied_index)
