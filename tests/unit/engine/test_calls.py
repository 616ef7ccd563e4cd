"""Callers follow the leader: a transfer is asked at any node, and costs no write and no read that is under way."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from replicator.config.timing import RaftTiming
from replicator.model.errors import InvalidArgument, NoLeader, ReplicatorError, ShuttingDown, Unavailable
from replicator.model.ids import NodeId, Region
from tests.support.commands import by, put
from tests.support.engines import EngineNet
from tests.support.links import until
from tests.support.replicas import LAN, NAMES

A, B, C = NAMES[:3]
LONG_S = 20.0
PATIENT = RaftTiming(heartbeat_s=0.05, election_timeout_min_s=3.0, election_timeout_max_s=6.0)
CALLERS = 8
REGION_OF = {A: Region("eu"), B: Region("us"), C: Region("ap")}


@asynccontextmanager
async def three_engines(directory: Path, timing: RaftTiming) -> AsyncIterator[EngineNet]:
    net = EngineNet(directory, [A, B, C], regions=REGION_OF, timing=timing)
    await net.start()
    await until(lambda: net.leader() is not None and all(net[name].status().leader_id for name in net.names))
    yield net
    await net.stop()


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[EngineNet]:
    async with three_engines(tmp_path, LAN) as net:
        yield net


@pytest.fixture
async def patient_three(tmp_path: Path) -> AsyncIterator[EngineNet]:
    """Their disks may stand still for seconds, as on a busy machine, and no leader is given up for that."""
    async with three_engines(tmp_path, PATIENT) as net:
        yield net


def leader_of(net: EngineNet) -> NodeId:
    leader = net.leader()
    assert leader is not None
    return leader


def followers(net: EngineNet) -> list[NodeId]:
    return [name for name in net.names if name != leader_of(net)]


class Load:
    """Callers at all nodes that write and read until told to stop; any error ends the test."""

    def __init__(self, net: EngineNet) -> None:
        self._net, self._stop = net, False
        self.written = self.read = 0
        self._tasks = [asyncio.create_task(self._write(number)) for number in range(CALLERS)]
        self._tasks += [asyncio.create_task(self._read(name)) for name in net.names]

    async def more(self, count: int = 40) -> None:
        writes, reads = self.written + count, self.read + count
        await until(lambda: (self.written >= writes and self.read >= reads) or any(t.done() for t in self._tasks))

    async def stop(self) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)

    async def _write(self, number: int) -> None:
        node = self._net[self._net.names[number % len(self._net.names)]]
        drawn_ms = node.status().log_time_ms
        for sequence in itertools.count(1):
            if self._stop:
                return
            outcome = await node.propose(
                put(b"%d/%d" % (number, sequence), b"v", by(number + 1, sequence, issued_ms=drawn_ms)), timeout_s=LONG_S
            )
            assert not outcome.duplicate
            self.written += 1

    async def _read(self, name: NodeId) -> None:
        while not self._stop:
            await self._net[name].read_index(timeout_s=LONG_S)
            self.read += 1


async def test_leadership_is_handed_over_wherever_it_is_asked_for(three: EngineNet) -> None:
    """At the leader, at the target, at a bystander."""
    for asked in ("leader", "target", "bystander"):
        leader, (target, bystander) = leader_of(three), followers(three)
        node = three[{"leader": leader, "target": target, "bystander": bystander}[asked]]
        assert await node.transfer_leadership(target, timeout_s=LONG_S) == target
        assert three.leader() == target
        await until(lambda: all(three[name].status().leader_id == three.leader() for name in three.names))


async def test_leadership_is_handed_to_a_region(three: EngineNet) -> None:
    target = followers(three)[0]
    asked = three[followers(three)[1]]

    assert await asked.transfer_leadership(region=REGION_OF[target], timeout_s=LONG_S) == target
    assert await asked.transfer_leadership(region=REGION_OF[target], timeout_s=LONG_S) == target  # it does already


async def test_what_cannot_be_is_refused_with_the_reason_at_any_node(three: EngineNet) -> None:
    before = leader_of(three)
    for name in three.names:
        with pytest.raises(InvalidArgument, match="n9 is not a voter; leadership can go to n1 or n2 or n3"):
            await three[name].transfer_leadership(NodeId("n9"), timeout_s=LONG_S)
        with pytest.raises(InvalidArgument, match="no voter in region mars; there are some in ap, eu, us"):
            await three[name].transfer_leadership(region=Region("mars"), timeout_s=LONG_S)
        with pytest.raises(InvalidArgument, match="not both"):
            await three[name].transfer_leadership(A, Region("eu"), timeout_s=LONG_S)
    assert three.leader() == before


async def test_no_write_and_no_read_fails_while_leadership_moves(patient_three: EngineNet) -> None:
    """Callers wait for a moment at most; the state machine saw each write once.

    Holds while no disk stands still for an election timeout. Else a hand-over may fail, and a write that was passed
    on to a leader that is not heard any more is of unknown outcome (forwards.py).
    """
    three = patient_three
    load = Load(three)
    for number in range(10):
        await load.more()
        target = followers(three)[number % 2]
        assert await three[three.names[number % 3]].transfer_leadership(target, timeout_s=LONG_S) == target
    await load.more()
    await load.stop()
    await until(lambda: len({three.nodes[name].storage.applied_position.rolling_hash for name in three.names}) == 1)

    assert three.nodes[A].storage.applied_position.live_keys == load.written


async def test_a_target_that_cannot_take_over_leaves_the_leader_leading(three: EngineNet) -> None:
    """Its disk stands still: it neither acknowledges nor campaigns. The others go on, and the caller is told."""
    leader, target = leader_of(three), followers(three)[0]
    load = Load(three)
    await load.more()
    await load.stop()
    three.nodes[target].disk.flows.clear()
    await three[leader].propose(put(b"target lacks this"), timeout_s=LONG_S)
    for name in (leader, followers(three)[1]):
        with pytest.raises(
            Unavailable, match=f"{target} did not (catch up|take over) in time; {leader} stays the leader"
        ):
            await three[name].transfer_leadership(target, timeout_s=1.0)
        await three[name].propose(put(b"k"), timeout_s=LONG_S)
    assert three.leader() == leader
    three.nodes[target].disk.flows.set()


async def test_a_target_that_is_cut_off_is_told_of_at_once(three: EngineNet) -> None:
    leader, (target, other) = leader_of(three), followers(three)
    for name in (leader, other):
        three.unlink(name, target)
    await until(lambda: not any(peer.connected for peer in three[leader].status().peers if peer.node_id == target))
    with pytest.raises(Unavailable, match="no link"):
        await three[other].transfer_leadership(target, timeout_s=LONG_S)


async def test_a_transfer_without_a_leader_is_refused(tmp_path: Path) -> None:
    net = EngineNet(tmp_path, [A, B, C])
    await net.start(A)
    with pytest.raises(NoLeader):
        await net[A].transfer_leadership(B, timeout_s=LONG_S)
    await net.stop()


async def test_a_stop_answers_whoever_waits_for_a_transfer(three: EngineNet) -> None:
    leader, (target, _) = leader_of(three), followers(three)
    three.nodes[target].disk.flows.clear()
    await three[leader].propose(put(b"target lacks this"), timeout_s=LONG_S)
    waiting = asyncio.create_task(three[leader].transfer_leadership(target, timeout_s=LONG_S))
    await until(lambda: three[leader]._replica.transfers._transfer is not None)
    await three[leader].stop()

    with pytest.raises(ReplicatorError) as told:
        await waiting
    assert isinstance(told.value, ShuttingDown)
