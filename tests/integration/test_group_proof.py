"""Real sockets: the cluster's secret makes no member, ends no node, and silence blocks no peer."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from replicator.model.ids import NodeId
from replicator.model.incarnation import KnownIncarnation
from replicator.node.known_runs import KnownRuns
from replicator.storage import StorageWriter
from replicator.transport.handshake.proof import Secrets, signed_refusal
from replicator.transport.links.admission_gate import UNSHAKEN_STREAMS_MAX
from replicator.transport.links.introductions import HANDSHAKE_BYTES_MAX
from replicator.transport.settings import LinkTimers
from replicator.v1 import peer_pb2
from tests.support.links import (
    ALL_SECRETS,
    CLUSTER_SECRET,
    FOUNDER,
    GROUP_SECRET,
    HandDriven,
    Links,
    RecordingSink,
    RunsInMemory,
    a_hello,
    directory_of,
    is_linked,
    peers_of,
    run_of,
    until,
)
from tests.support.storage_process import opened

N2 = NodeId("n2")
CLUSTER_ONLY = Secrets(CLUSTER_SECRET, b"guessed")


@pytest.fixture
async def links() -> AsyncIterator[Links]:
    async with Links() as running:
        yield running


async def answer_to(port: int, secrets: Secrets, founder: bytes, number: int = 1) -> str:
    """The reason of the refusal; empty if n2 is linked."""
    async with HandDriven(port) as peer:
        said = a_hello(founder=founder, incarnation=number)
        await peer.say(said)
        await peer.prove(said, (await peer.hear()).welcome, secrets)
        await peer.call.done_writing()
        answer = await peer.call.read()
        return peer_pb2.LinkMessage.FromString(answer).refusal.reason if isinstance(answer, bytes) else ""


async def test_a_member_that_says_it_belongs_to_the_group_must_prove_it(links: Links) -> None:
    sink = RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1}), sink)
    assert await answer_to(one.bound_port, CLUSTER_ONLY, FOUNDER) == "NOT_PROVEN"
    assert sink.calls == []
    assert await answer_to(one.bound_port, ALL_SECRETS, FOUNDER) == ""


async def test_a_directory_that_has_once_proven_it_must_do_so_in_every_later_run(links: Links) -> None:
    """A node never forgets its group, so a run that says it has heard of none is not this node's."""
    memory = RunsInMemory()
    one = await links.start(peers_of("n1", {"n2": 1}), RecordingSink(), memory)
    assert await answer_to(one.bound_port, CLUSTER_ONLY, b"") == "", "it may not have heard of the group"
    assert not memory.runs[N2].is_of_group
    await until(lambda: not is_linked(one, "n2"))
    assert await answer_to(one.bound_port, ALL_SECRETS, FOUNDER, number=2) == ""
    assert memory.runs[N2].is_of_group
    await until(lambda: not is_linked(one, "n2"))
    assert await answer_to(one.bound_port, CLUSTER_ONLY, b"", number=3) == "NOT_PROVEN"
    assert memory.runs[N2].incarnation.number == 2, "nothing of it is remembered"


@pytest.mark.parametrize(("by_group", "gives_up"), [(b"guessed", False), (GROUP_SECRET, True)])
@pytest.mark.parametrize("reason", ["LOST_DATA", "OLD_INCARNATION", "COPIED_DIRECTORY"])
async def test_only_the_group_makes_a_node_give_up_its_data(
    links: Links, reason: str, by_group: bytes, gives_up: bool
) -> None:
    sink = RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1}), sink)
    async with HandDriven(one.bound_port) as peer:
        said = a_hello()
        await peer.say(said)
        welcome = (await peer.hear()).welcome
        refusal = signed_refusal(
            Secrets(CLUSTER_SECRET, by_group),
            peer_pb2.Refusal(reason=reason, message="it must not act"),
            said.SerializeToString(),
            welcome.hello,
        )
        await peer.say(peer_pb2.LinkMessage(refusal=refusal))
        await peer.call.done_writing()
        while isinstance(await peer.call.read(), bytes):
            pass
    assert one.links()[N2].last_refusal is not None
    assert bool(sink.superseded_by) == gives_up


async def test_a_hello_of_megabytes_is_not_even_parsed(links: Links) -> None:
    one = await links.start(peers_of("n1", {"n2": 1}), RecordingSink())
    async with HandDriven(one.bound_port) as peer:
        await peer.say(a_hello(region="x" * HANDSHAKE_BYTES_MAX))
        with pytest.raises(grpc.aio.AioRpcError, match="in place of a Hello"):
            await peer.call.read()


async def test_a_note_whose_handshake_was_given_up_counts_once_it_is_on_disk(tmp_path: Path) -> None:
    """Else a copy of the same number would be taken for the run that was met."""
    storage = opened(tmp_path / "data")
    writer = StorageWriter(storage)
    runs = KnownRuns(storage, writer)
    first, later = (KnownIncarnation(directory_of("n2"), run_of("n2", number)) for number in (1, 2))
    await runs.note(N2, first)
    assert runs.known(N2) == first
    noting = asyncio.create_task(runs.note(N2, later))
    await asyncio.sleep(0)
    noting.cancel()
    await asyncio.gather(noting, return_exceptions=True)
    assert runs.known(N2) in (first, later)
    await until(lambda: runs.known(N2) == later)
    await writer.close()
    storage.close()


@pytest.mark.parametrize("says_hello", [False, True])
async def test_streams_that_never_prove_who_they_are_are_limited_in_number_and_keep_nobody_out(
    links: Links, says_hello: bool
) -> None:
    """The oldest of them gives up its place to one that comes; a peer needs its place for a moment only."""
    one = await links.start(peers_of("n1", {"n2": 1}, timers=LinkTimers(hello_s=60)), RecordingSink())
    silent = [HandDriven(one.bound_port) for _ in range(UNSHAKEN_STREAMS_MAX)]
    try:
        for peer in silent:
            await peer.call.wait_for_connection()
            if says_hello:
                await peer.say(a_hello())
                assert (await peer.hear()).WhichOneof("body") == "welcome"
        turned_away = [asyncio.create_task(peer.call.read()) for peer in silent]
        while not any(task.done() for task in turned_away):  # the last of the silent ones may still be on its way
            async with HandDriven(one.bound_port) as late:
                await late.shake_hands()
                await until(lambda: is_linked(one, "n2"))
        for task in turned_away:
            task.cancel()
        codes = [error.code() for task in await asyncio.gather(*turned_away, return_exceptions=True)
                 if isinstance(error := task, grpc.aio.AioRpcError)]  # fmt: skip
        assert set(codes) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    finally:
        for peer in silent:
            await peer.__aexit__()


async def test_silent_streams_crowd_out_each_other_and_no_peer_that_has_said_its_hello(links: Links) -> None:
    one = await links.start(peers_of("n1", {"n2": 1}, timers=LinkTimers(hello_s=60)), RecordingSink())
    silent: list[HandDriven] = []
    reading: list[asyncio.Task[object]] = []
    try:
        async with HandDriven(one.bound_port) as peer:
            hello = a_hello()
            await peer.say(hello)
            welcome = (await peer.hear()).welcome
            for _ in range(2 * UNSHAKEN_STREAMS_MAX):
                silent.append(HandDriven(one.bound_port))
                await silent[-1].call.wait_for_connection()
            reading = [asyncio.create_task(each.call.read()) for each in silent]
            await until(lambda: sum(task.done() for task in reading) >= UNSHAKEN_STREAMS_MAX)  # so all have arrived
            await peer.prove(hello, welcome)
            await until(lambda: is_linked(one, "n2"))
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        for each in silent:
            await each.__aexit__()
