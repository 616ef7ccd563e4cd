"""The engine's face on a running loop with real storage: answers, deadlines, refusals, and an end for every caller."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from replicator.machine.outcomes import APPLIED, outcome_at
from replicator.model.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NoLeader,
    OutcomeUnknown,
    ReplicaBehind,
    ShuttingDown,
    StorageFailed,
    StorageFull,
)
from replicator.model.ids import LogIndex, NodeId
from tests.support.commands import by, put
from tests.support.engines import EngineNet
from tests.support.links import until
from tests.support.replicas import NAMES

A, B, C = NAMES[:3]
LONG_S = 20.0
SHORT_S = 0.05


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[EngineNet]:
    net = EngineNet(tmp_path, [A])
    await net.start()
    await until(lambda: net.leader() == A)
    yield net
    await net.stop()


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[EngineNet]:
    net = EngineNet(tmp_path, [A, B, C])
    await net.start()
    await until(lambda: net.leader() is not None and all(net[name].status().leader_id for name in net.names))
    yield net
    await net.stop()


def a_follower(net: EngineNet) -> NodeId:
    return next(name for name in net.names if name != net.leader())


# One node ---------------------------------------------------------------------------------------------------------


async def test_a_write_is_durable_and_readable_when_its_caller_hears_of_it(alone: EngineNet) -> None:
    outcome = await alone[A].propose(put(b"k", b"v"), timeout_s=LONG_S)
    found, _, _ = alone.nodes[A].storage.get(b"k")

    assert outcome_at(outcome, 0).status == APPLIED
    assert found is not None
    assert found.value == b"v"
    assert alone[A].applied_index == outcome.index


async def test_writes_of_many_callers_share_commits(alone: EngineNet) -> None:
    """Group commit: far fewer syncs than writes."""
    await alone[A].propose(put(b"first"), timeout_s=LONG_S)
    before = alone.nodes[A].disk.commits
    outcomes = await asyncio.gather(*(alone[A].propose(put(b"%d" % key), timeout_s=LONG_S) for key in range(200)))

    assert sorted(outcome.revisions[0] for outcome in outcomes) == list(range(2, 202))
    assert alone.nodes[A].disk.commits - before < 50


async def test_a_read_index_covers_every_write_acknowledged_before_it(alone: EngineNet) -> None:
    outcome = await alone[A].propose(put(b"k"), timeout_s=LONG_S)

    assert await alone[A].read_index(timeout_s=LONG_S) >= outcome.index


async def test_a_write_that_is_still_queued_when_time_is_over_never_happens(alone: EngineNet) -> None:
    """DeadlineExceeded says so, and it is kept."""
    await alone[A].propose(put(b"first"), timeout_s=LONG_S)
    disk = alone.nodes[A].disk
    disk.flows.clear()
    stuck = asyncio.create_task(alone[A].propose(put(b"stuck"), timeout_s=LONG_S))
    await until(lambda: alone[A].status().last_index == 4)
    with pytest.raises(DeadlineExceeded):
        await alone[A].propose(put(b"never"), timeout_s=SHORT_S)
    disk.flows.set()
    await stuck
    await alone[A].propose(put(b"last"), timeout_s=LONG_S)

    assert alone.nodes[A].storage.get(b"never")[0] is None


async def test_a_write_in_the_log_when_time_is_over_is_unknown(alone: EngineNet) -> None:
    await alone[A].propose(put(b"first"), timeout_s=LONG_S)
    alone.nodes[A].disk.flows.clear()
    with pytest.raises(OutcomeUnknown):
        await alone[A].propose(put(b"k"), timeout_s=0.3)


async def test_no_time_left_means_nothing_is_asked(alone: EngineNet) -> None:
    await alone[A].propose(put(b"first"), timeout_s=LONG_S)
    with pytest.raises(DeadlineExceeded):
        await alone[A].propose(put(b"k"), timeout_s=0.0)
    assert alone[A].queue_depth == 0


async def test_waiting_for_an_index_ends_with_it_or_with_time(alone: EngineNet) -> None:
    outcome = await alone[A].propose(put(b"k"), timeout_s=LONG_S)
    waiting = asyncio.create_task(alone[A].wait_applied(LogIndex(outcome.index + 1), timeout_s=LONG_S))
    with pytest.raises(ReplicaBehind):
        await alone[A].wait_applied(LogIndex(outcome.index + 2), timeout_s=SHORT_S)
    assert not waiting.done()
    await alone[A].propose(put(b"l"), timeout_s=LONG_S)
    await waiting


async def test_a_command_that_is_too_large_is_refused_and_the_engine_goes_on(alone: EngineNet) -> None:
    with pytest.raises(InvalidArgument):
        await alone[A].propose(b"x" * (9 << 20), timeout_s=LONG_S)
    await alone[A].propose(put(b"k"), timeout_s=LONG_S)


# A full or broken disk --------------------------------------------------------------------------------------------


async def test_a_full_disk_makes_the_node_read_only_and_room_makes_it_write_again(alone: EngineNet) -> None:
    await alone[A].propose(put(b"first"), timeout_s=LONG_S)
    disk = alone.nodes[A].disk
    disk.full = True
    held = asyncio.create_task(alone[A].propose(put(b"held"), timeout_s=LONG_S))
    await until(lambda: alone[A].status().read_only_reason != "")
    with pytest.raises(StorageFull):
        await alone[A].propose(put(b"refused"), timeout_s=LONG_S)
    assert alone.nodes[A].storage.get(b"first")[0] is not None
    disk.full = False
    outcome = await held  # it was in the turn that could not be committed, and was kept, not lied about

    assert outcome_at(outcome, 0).status == APPLIED
    assert alone[A].status().read_only_reason == ""
    assert alone.nodes[A].storage.get(b"refused")[0] is None
    await alone[A].propose(put(b"again"), timeout_s=LONG_S)


async def test_what_reads_the_data_file_waits_until_it_holds_all_that_is_applied(alone: EngineNet) -> None:
    storage = alone.nodes[A].storage
    for number in range(20):
        outcome = await alone[A].propose(put(b"%d" % number), timeout_s=LONG_S)
        await alone[A].wait_stored(timeout_s=LONG_S)
        assert storage.position.applied_index >= outcome.index


async def test_it_is_told_at_once_that_a_full_disk_cannot_hold_it(alone: EngineNet) -> None:
    await alone[A].propose(put(b"first"), timeout_s=LONG_S)
    alone.nodes[A].disk.full = True
    held = asyncio.create_task(alone[A].propose(put(b"held"), timeout_s=LONG_S))
    await until(lambda: alone[A].status().read_only_reason != "")

    with pytest.raises(ReplicaBehind, match=r"the newest writes are in memory and in the log only.*no room left"):
        await alone[A].wait_stored(timeout_s=LONG_S)
    alone.nodes[A].disk.full = False
    await held
    await alone[A].wait_stored(timeout_s=LONG_S)


async def test_a_node_that_is_stopped_leaves_all_that_it_applied_on_disk(alone: EngineNet) -> None:
    outcome = await alone[A].propose(put(b"last"), timeout_s=LONG_S)
    await alone[A].stop()

    storage = alone.nodes[A].storage
    assert storage.position == storage.applied_position
    assert storage.position.applied_index == outcome.index
    assert storage.hard_state().commit_index >= outcome.index


async def test_a_node_with_a_full_disk_can_be_stopped(alone: EngineNet) -> None:
    await alone[A].propose(put(b"first"), timeout_s=LONG_S)
    alone.nodes[A].disk.full = True
    held = asyncio.create_task(alone[A].propose(put(b"held"), timeout_s=LONG_S))
    await until(lambda: alone[A].status().read_only_reason != "")
    await alone[A].stop()

    with pytest.raises(OutcomeUnknown):
        await held
    await alone[A].wait_failed()


async def test_a_failed_disk_ends_the_engine_and_is_told(alone: EngineNet) -> None:
    """Never retried on the same pages: the node stops, loudly."""
    await alone[A].propose(put(b"first"), timeout_s=LONG_S)
    alone.nodes[A].disk.broken = True
    write = asyncio.create_task(alone[A].propose(put(b"k"), timeout_s=LONG_S))
    with pytest.raises(StorageFailed, match="EIO"):
        await alone[A].wait_failed()
    with pytest.raises(ShuttingDown):
        await alone[A].propose(put(b"l"), timeout_s=LONG_S)
    with pytest.raises(ShuttingDown):
        await alone[A].read_index(timeout_s=LONG_S)
    await alone[A].stop()
    with pytest.raises(OutcomeUnknown):
        await write


# Stopping ---------------------------------------------------------------------------------------------------------


async def test_a_stop_answers_everybody(alone: EngineNet) -> None:
    """Nobody is left waiting, and nobody is told more than is known."""
    await alone[A].propose(put(b"first"), timeout_s=LONG_S)
    waiting = asyncio.create_task(alone[A].wait_applied(LogIndex(1 << 30), timeout_s=LONG_S))
    await asyncio.sleep(0)
    await alone[A].stop()

    with pytest.raises(ShuttingDown):
        await waiting
    for call in (alone[A].propose(put(b"k"), timeout_s=LONG_S), alone[A].read_index(timeout_s=LONG_S)):
        with pytest.raises(ShuttingDown):
            await call


async def test_a_draining_node_takes_no_writes_and_still_reads(alone: EngineNet) -> None:
    await alone[A].propose(put(b"first"), timeout_s=LONG_S)
    alone[A].refuse_proposals()
    with pytest.raises(ShuttingDown):
        await alone[A].propose(put(b"k"), timeout_s=LONG_S)

    assert await alone[A].read_index(timeout_s=LONG_S) > 0


async def test_a_restart_serves_what_was_acknowledged(tmp_path: Path) -> None:
    net = EngineNet(tmp_path, [A])
    await net.start()
    await until(lambda: net.leader() == A)
    write = put(b"k", b"v", by(1, 1, issued_ms=net[A].status().log_time_ms))
    first = await net[A].propose(write, timeout_s=LONG_S)
    await net.stop()
    again = EngineNet(tmp_path, [A])
    await again.start()
    await until(lambda: again.leader() == A)
    repeated = await again[A].propose(write, timeout_s=LONG_S)
    found, _, _ = again.nodes[A].storage.get(b"k")
    await again.stop()

    assert found is not None
    assert found.version == 1
    assert (repeated.duplicate, repeated.revisions[0]) == (True, first.revisions[0])


# Three nodes ------------------------------------------------------------------------------------------------------


async def test_any_node_takes_writes_and_confirms_reads(three: EngineNet) -> None:
    outcomes = [await three[name].propose(put(name.encode()), timeout_s=LONG_S) for name in three.names]
    for name in three.names:
        point = await three[name].read_index(timeout_s=LONG_S)
        assert point >= outcomes[-1].index
        await three[name].wait_applied(point, timeout_s=LONG_S)
    assert [outcome.revisions[0] for outcome in outcomes] == [1, 2, 3]
    await until(lambda: len({three.nodes[name].storage.position.rolling_hash for name in three.names}) == 1)


async def test_a_follower_becomes_provably_fresh(three: EngineNet) -> None:
    follower = three[a_follower(three)]
    await follower.wait_fresh(200.0, timeout_s=LONG_S)
    assert follower.is_caught_up


async def test_a_node_without_a_majority_says_who_is_missing(tmp_path: Path) -> None:
    """Within an election timeout, not at the end of the caller's patience."""
    net = EngineNet(tmp_path, [A, B, C])
    await net.start(A)
    missing = r"2 of 3 voters are not connected \(n2 since this node started, .* n3 .*\); a majority needs 2"
    with pytest.raises(NoLeader, match=f"no leader: {missing}"):
        await net[A].propose(put(b"k"), timeout_s=LONG_S)
    assert re.match(missing, net[A].status().no_majority)
    with pytest.raises(NoLeader):
        await net[A].read_index(timeout_s=LONG_S)
    with pytest.raises(ReplicaBehind):
        await net[A].wait_fresh(100.0, timeout_s=0.2)
    assert not net[A].is_caught_up
    await net.stop()


async def test_a_leader_calls_no_peer_connected_that_is_silent_on_a_link_that_is_up(three: EngineNet) -> None:
    leader, silent = three.leader(), a_follower(three)
    assert leader is not None

    def is_connected() -> bool:
        return next(peer.connected for peer in three[leader].status().peers if peer.node_id == silent)

    three.nodes[silent].disk.flows.clear()  # it answers nothing that its disk has not taken
    await three[leader].propose(put(b"k"), timeout_s=LONG_S)
    await until(lambda: not is_connected())
    three.nodes[silent].disk.flows.set()
    await until(is_connected)


async def test_leadership_is_handed_over_on_request(three: EngineNet) -> None:
    before = three.leader()
    assert before is not None
    target = next(name for name in three.names if name != before)
    await three[before].propose(put(b"k"), timeout_s=LONG_S)
    assert await three[before].transfer_leadership(target, timeout_s=LONG_S)
    await until(lambda: three.leader() == target)
    await three[before].propose(put(b"l"), timeout_s=LONG_S)


async def test_a_write_survives_the_leader_that_took_it(three: EngineNet) -> None:
    before = three.leader()
    assert before is not None
    rest = [name for name in three.names if name != before]
    await three[rest[0]].propose(put(b"k"), timeout_s=LONG_S)
    for name in rest:
        three.unlink(before, name)
    await until(lambda: three.leader() in rest)
    outcome = await three[rest[1]].propose(put(b"l"), timeout_s=LONG_S)

    assert outcome.revisions[0] == 2
    assert three.nodes[rest[1]].storage.get(b"k")[0] is not None


async def test_a_link_that_falls_under_a_forwarded_write_leaves_it_unknown(three: EngineNet) -> None:
    leader, follower = three.leader(), a_follower(three)
    assert leader is not None
    three.nodes[leader].disk.flows.clear()
    write = asyncio.create_task(three[follower].propose(put(b"k"), timeout_s=LONG_S))
    await until(lambda: bool(three[follower]._replica.forwards._questions))
    three.unlink(leader, follower)
    with pytest.raises(OutcomeUnknown, match="link"):
        await write
    three.nodes[leader].disk.flows.set()


async def test_roles_are_told_as_they_change(tmp_path: Path) -> None:
    net = EngineNet(tmp_path, [A])
    await net._start(A)
    await until(lambda: net.leader() == A)
    await net.stop()

    assert net.nodes[A].observer.roles[-1] == "leader"
