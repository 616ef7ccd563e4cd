"""The SDK's batches over real connections that break: each write is applied once, each caller hears the truth."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

import replicator
from chaos.wire import Link
from replicator.client.batch_exchange import Exchange
from replicator.model.ids import NodeId
from replicator.v1 import kv_pb2, kv_pb2_grpc
from tests.support.api_nodes import ApiNode, serving
from tests.support.memory_cluster import MemoryCluster

WRITES, READS = "WriteBatch", "ReadBatch"
PATIENCE_S = 60.0


@asynccontextmanager
async def three_nodes_behind_links() -> AsyncIterator[tuple[Sequence[ApiNode], Sequence[Link]]]:
    """Nodes that clients know by the addresses of proxies only."""
    cluster = MemoryCluster()
    for node_id, region in (("n1", "eu"), ("n2", "us"), ("n3", "ap")):
        cluster.add(node_id, region)
    async with serving(cluster) as nodes, AsyncExitStack() as stack:
        links = [await stack.enter_async_context(Link(0, api.address)) for api in nodes]
        cluster.advertise({NodeId(api.node.node_id): link.address for api, link in zip(nodes, links, strict=True)})
        yield nodes, links


def applied(nodes: Sequence[ApiNode]) -> Counter[bytes]:
    """How often each value was written."""
    return Counter(event.value for event in nodes[0].node.replica.events.values())


async def test_connections_that_are_killed_in_the_middle_of_batches_cost_no_write_and_repeat_none() -> None:
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    async with three_nodes_behind_links() as (nodes, links):
        cuts = 0

        async def cut_an_answer(name: str, request: Any, context: Any) -> None:
            """The batch is applied, and its connection dies before anybody hears of it."""
            nonlocal cuts
            if name == WRITES and cuts < 12 and (cuts == 0 or dice.random() < 0.4):
                cuts += 1
                for link in links:
                    link.reset_connections()

        for api in nodes:
            api.disturbance.after = cut_an_answer
        async with replicator.connect([link.address for link in links]) as client:

            async def caller(number: int) -> None:
                for turn in range(4):
                    await asyncio.sleep(dice.random() * 0.1)
                    value = b"%d-%d" % (number, turn)
                    put = await client.put(b"%d" % (number % 7), value, timeout_s=PATIENCE_S)
                    assert nodes[0].node.replica.events[put.revision, 0].value == value, f"seed {seed}"

            await asyncio.gather(*(caller(number) for number in range(150)))
        assert sum(link.counters.connections_reset for link in links) > 0, f"seed {seed}: nothing was disturbed"
        assert applied(nodes) == {b"%d-%d" % (n, turn): 1 for n in range(150) for turn in range(4)}, f"seed {seed}"


async def test_comparisons_that_are_sent_again_still_say_who_won() -> None:
    async with three_nodes_behind_links() as (nodes, links):
        cuts = 0

        async def cut(name: str, request: Any, context: Any) -> None:
            nonlocal cuts
            if name == WRITES and cuts < 3:
                cuts += 1
                for link in links:
                    link.reset_connections()

        for api in nodes:
            api.disturbance.after = cut
        async with replicator.connect([links[0].address]) as client:
            tries = await asyncio.gather(
                *(client.compare_and_set(b"k", b"%d" % n, if_revision=0, timeout_s=PATIENCE_S) for n in range(20))
            )
        assert cuts == 3
        assert [result.succeeded for result in tries] == [True] + [False] * 19
        assert {(result.value, result.mod_revision) for result in tries[1:]} == {(b"0", 1)}


async def test_batches_under_way_at_a_node_that_dies_go_on_at_the_next_leader() -> None:
    async with three_nodes_behind_links() as (nodes, links), replicator.connect([links[0].address]) as client:
        arrived = asyncio.Event()

        async def hang(name: str, request: Any, context: Any) -> None:
            if name == WRITES:
                arrived.set()
                await asyncio.Event().wait()

        nodes[0].disturbance.before = hang
        writing = [asyncio.create_task(client.put(b"%d" % n, b"%d" % n, timeout_s=PATIENCE_S)) for n in range(100)]
        await arrived.wait()

        nodes[1].node.cluster.lead(nodes[1].node.node_id)
        await nodes[0].server.stop(0.0)

        puts = await asyncio.gather(*writing)
        assert sorted(put.revision for put in puts) == list(range(1, 101))
        assert set(applied(nodes).values()) == {1}


async def test_a_client_moves_on_from_a_node_that_drains_without_a_failed_call() -> None:
    async with three_nodes_behind_links() as (nodes, links), replicator.connect([links[0].address], "eu") as client:
        stop, begun = asyncio.Event(), asyncio.Event()

        async def caller(number: int) -> int:
            turn = 0
            while not stop.is_set():
                value = b"%d-%d" % (number, turn)
                put = await client.put(b"%d" % number, value, timeout_s=PATIENCE_S)
                assert (await client.get(b"%d" % number, token=put.token, timeout_s=PATIENCE_S)).value == value
                turn += 1
                begun.set()
            return turn

        callers = [asyncio.create_task(caller(number)) for number in range(20)]
        await begun.wait()
        nodes[1].node.cluster.lead(nodes[1].node.node_id)
        await nodes[0].server.stop(PATIENCE_S)
        moved = len(nodes[1].disturbance.requests)
        async with asyncio.timeout(PATIENCE_S):
            while len(nodes[1].disturbance.requests) < moved + 10:  # noqa: ASYNC110  # there is no event for it
                await asyncio.sleep(0.01)
        stop.set()

        turns = await asyncio.gather(*callers)
        assert applied(nodes) == {b"%d-%d" % (n, t): 1 for n, count in enumerate(turns) for t in range(count)}


async def test_a_write_that_no_draining_node_has_read_surely_did_not_happen() -> None:
    async with three_nodes_behind_links() as (nodes, links), replicator.connect([links[0].address]) as client:
        await client.put(b"k", b"v")
        for api in nodes:
            api.server.drain()
        with pytest.raises(replicator.ShuttingDown) as caught:
            await client.put(b"k", b"w", timeout_s=1.0)
        assert caught.value.applied == "no"


async def test_writes_of_one_caller_are_applied_in_their_order_also_if_they_leave_together() -> None:
    async with three_nodes_behind_links() as (nodes, links), replicator.connect([links[0].address]) as client:
        puts = await asyncio.gather(*(client.put(b"k", b"%d" % number) for number in range(100)))
        assert [put.revision for put in puts] == list(range(1, 101))
        assert (await client.get(b"k", consistency=replicator.LINEARIZABLE)).value == b"99"
        assert [name for name, _ in nodes[0].disturbance.requests].count(WRITES) == 1


async def test_callers_that_all_go_take_their_batch_back_from_the_node() -> None:
    async with three_nodes_behind_links() as (nodes, links), replicator.connect([links[0].address]) as client:
        arrived, ended = asyncio.Event(), asyncio.Event()

        async def hang(name: str, request: Any, context: Any) -> None:
            if name != WRITES:
                return
            arrived.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        nodes[0].disturbance.before = hang
        writing = [asyncio.create_task(client.put(b"k", b"v", timeout_s=PATIENCE_S)) for _ in range(3)]
        await arrived.wait()
        writing[0].cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not ended.is_set(), "others still wait for it"
        for call in writing:
            call.cancel()
        async with asyncio.timeout(PATIENCE_S / 4):  # an attempt has a third of the time: that must not be what ends it
            await ended.wait()
        nodes[0].disturbance.before = None
        assert (await client.put(b"k", b"v")).revision == 1


async def test_an_answer_that_is_no_message_ends_its_batches_as_unknown_and_not_by_waiting() -> None:
    class Babble(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> Any:
            if details.method.endswith("/Exchange"):
                return grpc.stream_stream_rpc_method_handler(self.babble)
            return None

        async def babble(self, requests: Any, context: Any) -> None:
            await context.read()
            await context.write(b"\xff" * 20)
            await asyncio.Event().wait()

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Babble(),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            stub: Any = kv_pb2_grpc.KVServiceStub(channel)
            writes, reads = (Exchange(address, stub.Exchange, is_write=is_write) for is_write in (True, False))
            with pytest.raises(replicator.OutcomeUnknown, match="no message"):  # one attempt: a client would go on
                await writes.ask(kv_pb2.BatchRequest(write=kv_pb2.WriteBatch()), PATIENCE_S, PATIENCE_S)
            with pytest.raises(replicator.Unavailable, match="no message"):
                await reads.ask(kv_pb2.BatchRequest(read=kv_pb2.ReadBatch()), PATIENCE_S, PATIENCE_S)
            for exchange in (writes, reads):
                await exchange.close()
    finally:
        await server.stop(0.0)


async def test_a_wrong_call_among_others_fails_alone() -> None:
    async with three_nodes_behind_links() as (_, links), replicator.connect([links[0].address]) as client:
        calls: list[Any] = [client.put(b"%d" % number, b"v") for number in range(10)]
        calls[3:3] = [client.put(b"", b"v"), client.put(b"k", bytes(2 << 20)), client.get(b"")]
        ended = await asyncio.gather(*calls, return_exceptions=True)
        wrong = [at for at, result in enumerate(ended) if isinstance(result, replicator.InvalidArgument)]
        assert wrong == [3, 4, 5]
        assert sum(isinstance(result, Exception) for result in ended) == 3


async def test_values_too_large_for_one_answer_all_arrive() -> None:
    async with three_nodes_behind_links() as (_, links), replicator.connect([links[0].address]) as client:
        value = bytes(900_000)
        puts = await asyncio.gather(*(client.put(b"%d" % n, value, timeout_s=PATIENCE_S) for n in range(6)))
        token = max((put.revision, put.token) for put in puts)[1]
        gets = await asyncio.gather(*(client.get(b"%d" % n, token=token, timeout_s=PATIENCE_S) for n in range(6)))
        lost = await asyncio.gather(
            *(client.compare_and_set(b"%d" % n, b"", if_revision=99, timeout_s=PATIENCE_S) for n in range(6))
        )
        assert {got.value for got in gets} == {result.value for result in lost} == {value}


async def test_a_deadline_of_one_caller_is_not_that_of_the_others() -> None:
    async with three_nodes_behind_links() as (nodes, links), replicator.connect([links[0].address]) as client:
        go_on = asyncio.Event()

        async def wait(name: str, request: Any, context: Any) -> None:
            await go_on.wait()

        for api in nodes:
            api.disturbance.before = wait
        hurried = asyncio.create_task(client.put(b"k", b"1", timeout_s=0.2))
        patient = asyncio.create_task(client.put(b"k", b"2", timeout_s=PATIENCE_S))
        with pytest.raises(replicator.OutcomeUnknown) as caught:
            await hurried
        assert caught.value.applied == "unknown"
        go_on.set()
        assert (await patient).revision == 2, "a batch is sent as a unit: the first one happened, too"
