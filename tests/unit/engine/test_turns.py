"""The loop that takes turns: nothing leaves before it is durable, nor on another link than the one it was meant for."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from replicator.engine.events import Frame, LinkDown, LinkUp, Outgoing
from replicator.engine.raft.messages import decode
from replicator.engine.turns import Turns
from replicator.model.errors import Superseded
from replicator.model.ids import NodeId
from replicator.model.log import Entry, TurnWrite
from replicator.model.observe import SilentObserver
from replicator.storage.failures import DiskFull
from replicator.v1 import raft_pb2, store_pb2
from tests.support.commands import put
from tests.support.links import until
from tests.support.replicas import NAMES, HandCluster, HandNode, frame

A, B, C = NAMES[:3]


@dataclass
class Gate:
    """A disk that commits when told. full: commits fail for want of room. applies: in memory, else with commits."""

    node: HandNode
    full: bool = False
    applies: bool = True
    open: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0
    done: int = 0

    def apply(self, entries: Sequence[Entry]) -> list[list[store_pb2.BatchOutcome]]:
        return self.node.disk.apply(entries) if self.applies else []

    async def commit(self, write: TurnWrite) -> list[list[store_pb2.BatchOutcome]]:
        self.asked += 1
        await self.open.wait()
        if self.full:
            raise DiskFull("no room")
        outcomes = self.node.disk.commit(write)
        self.done += 1
        return outcomes

    async def flush(self) -> None:
        """There is no data file."""

    async def mark_superseded(self, why: str) -> Superseded:
        raise AssertionError(why)


@dataclass
class Wire:
    """Sends on whatever link is up, as the transport does; remembers what and to whom."""

    sent: list[tuple[NodeId, raft_pb2.RaftMessage]] = field(default_factory=list)

    def send(self, peer: NodeId, payload: bytes, *, for_caller: bool) -> bool:
        self.sent.append((peer, decode(payload)))
        return True

    def drop(self, peer: NodeId, epoch: int, why: str) -> None:
        raise AssertionError(f"{peer} sent something malformed: {why}")

    def condemn(self, peer: NodeId, epoch: int, why: str) -> None:
        raise AssertionError(f"{peer} has lost data: {why}")

    def kinds(self, peer: NodeId) -> list[str | None]:
        return [message.WhichOneof("body") for to, message in self.sent if to == peer]


@dataclass
class Driven:
    """The leader of a cluster of three, handed over to a turn loop; its links have epochs of their own."""

    cluster: HandCluster
    node: HandNode
    gate: Gate
    wire: Wire
    turns: Turns
    task: "asyncio.Task[None]"

    def epoch(self, peer: NodeId) -> int:
        epoch = self.node.replica.link_epoch(peer)
        assert epoch is not None
        return epoch

    def answer_of(self, peer: NodeId, frames: Sequence[Outgoing]) -> None:
        """The peer takes frames and its answers are posted."""
        for out in frames:
            for answer in self.cluster[peer].turn(Frame(A, out.epoch, out.payload)):
                if answer.peer == A:
                    self.turns.post(Frame(peer, self.epoch(peer), answer.payload))


@pytest.fixture
async def driven() -> AsyncIterator[Driven]:
    cluster = HandCluster(3)
    node = cluster.elect(A)
    gate, wire = Gate(node), Wire()
    turns = Turns(
        node.replica,
        gate,
        clock=node.clock,
        observer=SilentObserver(),
        on_applied=lambda _outcomes: None,
        after_turn=lambda: None,
    )
    turns.connect(wire)
    for peer in (B, C):
        epoch = node.replica.link_epoch(peer)
        assert epoch is not None
        turns.post(LinkUp(peer, epoch))
    task = asyncio.create_task(turns.run())
    yield Driven(cluster, node, gate, wire, turns, task)
    turns.stop()
    gate.full = False
    gate.open.set()
    await asyncio.wait({task})


async def a_forwarded_write_on_its_way_to_disk(driven: Driven) -> None:
    """B has forwarded a write, C holds it too: what hangs is the commit of the turn that applies and answers it."""
    driven.gate.applies = False
    await a_forwarded_write_that_a_majority_holds(driven)
    await until(lambda: driven.gate.asked == 2)


async def a_forwarded_write_that_a_majority_holds(driven: Driven) -> None:
    """No further commit gets through."""
    forward = raft_pb2.Forward(request_id=1, command=put(b"k"))
    driven.gate.open.set()
    driven.turns.post(frame(B, driven.epoch(B), forward=forward))
    await until(lambda: any(message.append_entries.entries for to, message in driven.wire.sent if to == C))
    appends = [message for to, message in driven.wire.sent if to == C]
    driven.gate.open.clear()
    out = [Outgoing(C, driven.epoch(C), message.SerializeToString()) for message in appends]
    driven.answer_of(C, [Outgoing(A, each.epoch, each.payload) for each in out])


async def test_appends_leave_while_the_commit_is_under_way(driven: Driven) -> None:
    """The disks of leader and followers work at the same time."""
    driven.turns.post(frame(B, driven.epoch(B), forward=raft_pb2.Forward(request_id=1, command=put(b"k"))))
    await until(lambda: driven.gate.asked == 1)
    await until(lambda: any(message.append_entries.entries for to, message in driven.wire.sent if to == C))

    assert driven.gate.done == 0


async def test_an_answer_waits_for_no_commit(driven: Driven) -> None:
    """A majority holds the entry durably, and it is applied in memory."""
    await a_forwarded_write_that_a_majority_holds(driven)

    await until(lambda: "forward_reply" in driven.wire.kinds(B))
    assert driven.gate.done == 1


async def test_what_is_applied_within_a_commit_is_not_answered_before(driven: Driven) -> None:
    """Too much is applied in memory already: the rest is applied by the commit."""
    await a_forwarded_write_on_its_way_to_disk(driven)
    assert "forward_reply" not in driven.wire.kinds(B)

    driven.gate.open.set()
    await until(lambda: "forward_reply" in driven.wire.kinds(B))


async def test_an_answer_never_leaves_on_a_newer_link_than_it_was_asked_on(driven: Driven) -> None:
    """The peer restarted during the commit: its request 1 is another one now, and this answer is not for it."""
    await a_forwarded_write_on_its_way_to_disk(driven)
    epoch = driven.epoch(B)
    driven.turns.post(LinkDown(B, epoch))
    driven.turns.post(LinkUp(B, epoch + 100))
    driven.gate.open.set()
    await until(lambda: driven.gate.done >= 2 and driven.node.replica.link_epoch(B) == epoch + 100)

    assert "forward_reply" not in driven.wire.kinds(B)


async def test_nothing_is_sent_to_a_peer_whose_link_fell_during_the_commit(driven: Driven) -> None:
    await a_forwarded_write_on_its_way_to_disk(driven)
    sent_before = len(driven.wire.kinds(B))
    driven.turns.post(LinkDown(B, driven.epoch(B)))
    driven.gate.open.set()
    await until(lambda: driven.node.replica.link_epoch(B) is None)

    assert len(driven.wire.kinds(B)) == sent_before
