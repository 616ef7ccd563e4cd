"""The SDK against nodes that fail: what it retries, where, and what it says when it cannot know."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

import replicator
from replicator.model.limits import SESSION_RESULTS_MAX
from tests.support.api_nodes import ApiNode, an_api_server, free_address, serving
from tests.support.memory_cluster import MemoryCluster

WRITES, READS = "WriteBatch", "ReadBatch"  # a call of the SDK, alone or with others, is one of these
SHORT_S = 1.0  # of a call that ends by its time: enough to reach a busy server first


@asynccontextmanager
async def three_regions() -> AsyncIterator[list[ApiNode]]:
    cluster = MemoryCluster()
    for node_id, region in (("n1", "eu"), ("n2", "us"), ("n3", "ap")):
        cluster.add(node_id, region)
    async with serving(cluster) as nodes:
        yield nodes


def methods(api: ApiNode) -> list[str]:
    return [method for method, _ in api.disturbance.requests]


async def test_reads_stay_in_the_own_region_and_writes_go_to_the_leader() -> None:
    async with three_regions() as (eu, us, ap), replicator.connect([us.address], "ap") as client:
        put = await client.put(b"k", b"v")
        got = await client.get(b"k", token=put.token)
        assert (got.value, got.region) == (b"v", "ap")
        assert (methods(eu), methods(us), methods(ap)) == ([WRITES], [], [READS])


async def test_a_lost_reply_is_retried_under_the_same_name_and_the_write_is_applied_once() -> None:
    async with three_regions() as nodes, replicator.connect([nodes[0].address]) as client:
        for api in nodes:
            api.disturbance.lose_replies(1, WRITES)

        put = await client.put(b"k", b"v")

        requests = [request for api in nodes for _, request in api.disturbance.requests]
        assert len(requests) > 1
        assert len({request.write.SerializeToString() for request in requests}) == 1
        assert (put.revision, nodes[0].node.replica.revision) == (1, 1)


async def test_a_compare_and_set_whose_reply_is_lost_still_reports_that_it_won() -> None:
    async with three_regions() as nodes, replicator.connect([nodes[0].address]) as client:
        for api in nodes:
            api.disturbance.lose_replies(1, WRITES)

        assert (await client.compare_and_set(b"k", b"v", if_revision=0)).succeeded


async def test_a_write_whose_replies_are_all_lost_is_reported_as_unknown_never_as_failed() -> None:
    async with three_regions() as nodes, replicator.connect([api.address for api in nodes]) as client:
        for api in nodes:
            api.disturbance.lose_replies(10_000, WRITES)

        with pytest.raises(replicator.OutcomeUnknown) as caught:
            await client.put(b"k", b"v", timeout_s=SHORT_S)

        assert caught.value.applied == "unknown"
        assert nodes[0].node.replica.revision == 1


async def test_an_unknown_attempt_followed_by_refusals_stays_unknown() -> None:
    async with three_regions() as nodes, replicator.connect([nodes[0].address]) as client:
        lost = False

        async def lose_then_refuse(name: str, request: Any, context: Any) -> None:
            nonlocal lost
            if name == WRITES and not lost:
                lost = True
                for api in nodes:
                    api.node.raises.extend(replicator.StorageFull("disk full") for _ in range(1000))
                await context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset")

        for api in nodes:
            api.disturbance.after = lose_then_refuse

        with pytest.raises(replicator.OutcomeUnknown, match="disk full"):
            await client.put(b"k", b"v", timeout_s=SHORT_S)


async def test_a_forgotten_client_id_is_replaced_without_the_caller_noticing() -> None:
    async with three_regions() as nodes, replicator.connect([nodes[0].address]) as client:
        await client.put(b"k", b"1")
        for api in nodes:  # as the state machine does with idle clients, on every node alike
            for client_id in list(api.node.replica.sessions):
                api.node.replica.delete_session(client_id)

        assert (await client.put(b"k", b"2")).revision == 2


async def test_a_client_id_forgotten_between_two_tries_leaves_the_outcome_unknown() -> None:
    """The first try may have happened, and what the cluster knew of it is gone: a new id could apply it twice."""
    async with three_regions() as nodes, replicator.connect([nodes[0].address]) as client:
        await client.put(b"k", b"1")

        async def forget(name: str, request: Any, context: Any) -> None:
            for api in nodes:
                for client_id in list(api.node.replica.sessions):
                    api.node.replica.delete_session(client_id)
                api.disturbance.after = None
            await context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset")

        for api in nodes:
            api.disturbance.after = forget

        with pytest.raises(replicator.OutcomeUnknown):
            await client.put(b"k", b"2")
        assert nodes[0].node.replica.revision == 2


async def test_calls_go_on_at_another_node_when_one_dies() -> None:
    async with three_regions() as (eu, us, _ap), replicator.connect([eu.address], "eu") as client:
        put = await client.put(b"k", b"v")
        assert (await client.get(b"k")).region == "eu"

        await eu.server.stop(0.0)
        eu.node.cluster.leader = us.node

        got = await client.get(b"k", token=put.token)
        assert (got.value, got.region in ("us", "ap")) == (b"v", True)
        assert (await client.put(b"k", b"w")).revision == 2


async def test_a_node_that_never_answers_does_not_eat_up_the_deadline() -> None:
    """Its backlog takes the connection, and nobody reads from it."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent_address = f"127.0.0.1:{silent.getsockname()[1]}"
        async with three_regions() as nodes, replicator.connect([silent_address, nodes[0].address]) as client:
            assert (await client.put(b"k", b"v")).revision == 1
            assert (await client.get(b"k")).value == b"v"


async def test_a_node_that_hangs_in_the_middle_of_a_call_is_left_for_another() -> None:
    async with three_regions() as (eu, _us, _ap), replicator.connect([eu.address], "eu") as client:

        async def hang(name: str, request: Any, context: Any) -> None:
            if name == READS:
                await asyncio.Event().wait()

        eu.disturbance.before = hang
        assert (await client.get(b"k", timeout_s=10.0)).region in ("us", "ap")


async def test_a_read_is_taken_elsewhere_when_the_own_region_is_behind_its_token() -> None:
    async with three_regions() as (eu, _us, ap), replicator.connect([eu.address], "ap") as client:
        ap.node.hold()
        put = await client.put(b"k", b"v")

        got = await client.get(b"k", token=put.token, timeout_s=10.0)

        assert (got.value, got.region in ("eu", "us")) == (b"v", True)


async def test_an_election_in_between_is_waited_out() -> None:
    async with three_regions() as (eu, us, _ap), replicator.connect([eu.address]) as client:
        eu.node.cluster.leader = None
        writing = asyncio.create_task(client.put(b"k", b"v"))
        await eu.disturbance.arrived.wait()

        eu.node.cluster.leader = us.node

        assert (await writing).revision == 1


async def test_a_node_that_led_and_cannot_finish_writes_any_more_is_not_asked_first_for_each_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It hears who leads now, but does not get through to it: it can only say that it does not know."""
    monkeypatch.setattr("replicator.client.discovery.ROUND_EVERY_S", 3600.0)
    async with three_regions() as (eu, us, ap), replicator.connect([eu.address, us.address, ap.address]) as client:
        await client.put(b"k", b"v")
        assert methods(eu) == [WRITES]
        us.node.cluster.lead(us.node.node_id)
        eu.node.raises.extend(replicator.OutcomeUnknown("no answer of the leader") for _ in range(1000))

        async with asyncio.timeout(30):
            asked = -1
            while len(methods(eu)) != asked:
                asked = len(methods(eu))
                await client.put(b"k", b"v")
                await asyncio.sleep(0.05)


async def test_without_any_leader_a_write_fails_as_not_applied_and_a_local_read_still_works() -> None:
    async with three_regions() as (eu, _us, _ap), replicator.connect([eu.address]) as client:
        eu.node.cluster.leader = None
        with pytest.raises(replicator.NoLeader) as caught:
            await client.put(b"k", b"v", timeout_s=SHORT_S)
        assert caught.value.applied == "no"
        assert (await client.get(b"k", consistency=replicator.LOCAL)).value is None


async def test_what_a_node_said_is_not_hidden_by_an_attempt_that_came_too_late() -> None:
    """The last attempt may have only milliseconds, and tell of nothing but that."""
    async with three_regions() as nodes, replicator.connect([nodes[0].address]) as client:
        for api in nodes:
            api.node.raises.extend(replicator.DeadlineExceeded("arrived late") for _ in range(1000))
        nodes[0].node.raises.appendleft(replicator.NoLeader("an election is under way"))
        with pytest.raises(replicator.NoLeader, match="an election is under way"):
            await client.put(b"k", b"v", timeout_s=SHORT_S)


async def test_with_no_node_up_a_call_is_unavailable_and_nothing_happened() -> None:
    async with replicator.connect([free_address(), free_address()]) as client:
        for call in (client.put(b"k", b"v", timeout_s=SHORT_S), client.get(b"k", timeout_s=SHORT_S)):
            with pytest.raises(replicator.Unavailable) as caught:
                await call
            assert caught.value.applied == "no"


async def test_a_client_that_was_there_first_finds_the_node_when_it_comes_up() -> None:
    address = free_address()
    server = an_api_server(MemoryCluster().add("n1", "eu"), listen=address)
    async with replicator.connect([address]) as client:
        writing = asyncio.create_task(client.put(b"k", b"v", timeout_s=30.0))
        await asyncio.sleep(0)
        await server.start()
        try:
            assert (await writing).revision == 1
        finally:
            await server.stop(0.0)


async def test_scan_shows_one_revision_over_all_pages_while_writes_go_on() -> None:
    async with three_regions() as nodes, replicator.connect([nodes[0].address], "ap") as client:
        keys = [b"cart/%03d" % number for number in range(50)]
        for key in keys:
            put = await client.put(key, b"old")
        await client.put(b"zzz", b"outside")
        stop = asyncio.Event()

        async def keep_writing() -> int:
            count = 0
            while not stop.is_set():
                await client.put(keys[count % len(keys)], b"new")
                count += 1
            return count

        seen = []
        async for kv in client.scan(prefix=b"cart/", page_size=7, token=put.token):
            seen.append(kv)
            if len(seen) == 1:
                writer = asyncio.create_task(keep_writing())
            if len(seen) == 8:  # the rest of the pages come from other nodes
                nodes[2].disturbance.before = _refuse
            await asyncio.sleep(0)
        stop.set()

        assert await writer > 0
        assert [kv.key for kv in seen] == keys
        assert {kv.value for kv in seen} == {b"old"}


async def _refuse(name: str, request: Any, context: Any) -> None:
    raise replicator.ShuttingDown("going down")


async def test_256_writers_at_once_with_replies_lost_all_the_time_are_each_applied_once() -> None:
    async with three_regions() as nodes, replicator.connect([api.address for api in nodes]) as client:
        for api in nodes:
            api.disturbance.lose_replies(3, WRITES)  # of a batch each, which holds many writes

        puts = await asyncio.gather(
            *(client.put(b"key/%d" % number, b"%d" % number, timeout_s=30.0) for number in range(256))
        )

        assert sorted(put.revision for put in puts) == list(range(1, 257))
        versions = Counter(event.record[3] for event in nodes[0].node.replica.events.values())
        assert versions == {1: 256}


async def test_more_writers_than_the_cluster_remembers_results_for_all_succeed() -> None:
    cluster = MemoryCluster()
    cluster.add("n1", "eu")
    async with serving(cluster, calls_in_flight_max=2048) as (api,), replicator.connect([api.address]) as client:
        count = SESSION_RESULTS_MAX + 200
        puts = await asyncio.gather(*(client.put(b"k", b"%d" % n, timeout_s=60.0) for n in range(count)))

        assert {put.revision for put in puts} == set(range(1, count + 1))


async def test_a_closed_client_says_so_and_calls_in_flight_end() -> None:
    async with three_regions() as nodes:
        entered = asyncio.Event()

        async def hang(name: str, request: Any, context: Any) -> None:
            if name != "Status":
                entered.set()
                await asyncio.Event().wait()

        for api in nodes:
            api.disturbance.before = hang
        client = replicator.connect([nodes[0].address])
        writing = asyncio.create_task(client.put(b"k", b"v"))
        await entered.wait()

        await client.close()
        await client.close()

        with pytest.raises(replicator.OutcomeUnknown):
            await writing
        with pytest.raises(RuntimeError, match="closed"):
            await client.get(b"k")


async def test_closing_ends_the_search_for_nodes_even_in_the_moment_it_is_hurried() -> None:
    for _ in range(20):
        client = replicator.connect([free_address()])
        with pytest.raises((replicator.Unavailable, replicator.DeadlineExceeded)):  # as far as it got in that time
            await client.get(b"k", timeout_s=0.05)
        client._discovery.hurry()
        await client.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("replicator")]


async def test_a_call_that_is_cancelled_stays_cancelled() -> None:
    async with three_regions() as nodes, replicator.connect([nodes[0].address]) as client:
        nodes[0].node.cluster.leader = None
        writing = asyncio.create_task(client.put(b"k", b"v"))
        await nodes[0].disturbance.arrived.wait()

        writing.cancel()

        with pytest.raises(asyncio.CancelledError):
            await writing
        nodes[0].node.cluster.leader = nodes[0].node
        assert (await client.put(b"k", b"v")).revision == 1


async def test_a_client_that_is_never_closed_is_warned_about() -> None:
    async with three_regions() as nodes:
        client = replicator.connect([nodes[0].address])
        await client.put(b"k", b"v")
        with pytest.warns(ResourceWarning, match="unclosed"):
            client.__del__()
        await client.close()
