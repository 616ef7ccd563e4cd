"""What each consistency level promises, on a replica that is fine, behind, or cut off."""

import asyncio

import pytest

from replicator.model.causal_token import CausalToken, token_scope
from replicator.model.errors import InvalidArgument, InvalidToken, NoLeader, ReplicaBehind, TokenAhead
from replicator.model.ids import LogIndex
from replicator.model.values import Consistency
from replicator.service.read import Found
from replicator.service.read_levels import ReadOptions
from tests.support.memory_cluster import SCOPE, MemoryCluster, MemoryNode

SOON_S = 0.05
LINEARIZABLE = ReadOptions(Consistency.LINEARIZABLE)
LOCAL = ReadOptions(Consistency.LOCAL)


def two_nodes() -> tuple[MemoryNode, MemoryNode]:
    cluster = MemoryCluster()
    return cluster.add("n1", "eu"), cluster.add("n2", "us")


async def put(node: MemoryNode, value: bytes) -> str:
    return (await node.writes().put(b"k", value, None, timeout_s=1.0)).token


async def get(node: MemoryNode, options: ReadOptions, timeout_s: float = 5.0) -> Found:
    return await node.reads().get(b"k", options, timeout_s=timeout_s)


def value_of(found: Found) -> bytes | None:
    return None if found.kv is None else found.kv.value


async def test_a_token_that_is_applied_here_is_read_at_once_without_asking_the_leader() -> None:
    leader, follower = two_nodes()
    token = await put(leader, b"v")

    assert value_of(await get(follower, ReadOptions(token=token))) == b"v"
    assert follower.read_indexes == 0


async def test_a_causal_read_waits_for_its_token_and_then_sees_the_write() -> None:
    leader, follower = two_nodes()
    follower.hold()
    token = await put(leader, b"v")
    reading = asyncio.create_task(get(follower, ReadOptions(token=token)))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not reading.done()

    follower.heal()

    assert value_of(await reading) == b"v"


async def test_a_causal_read_never_answers_with_less_than_its_token_however_long_the_replica_is_behind() -> None:
    leader, follower = two_nodes()
    follower.hold()
    token = await put(leader, b"v")

    with pytest.raises(ReplicaBehind):
        await get(follower, ReadOptions(token=token), SOON_S)


async def test_a_node_that_holds_nothing_at_all_says_so_at_every_level_and_never_that_a_key_is_absent() -> None:
    """New, or wiped and refused by its group: the others hold the key."""
    cluster = MemoryCluster()
    leader, empty = cluster.add("n1", "eu"), cluster.add_unknown("n2", "us")
    token = await put(leader, b"v")

    for options in (
        LOCAL,
        LINEARIZABLE,
        ReadOptions(),
        ReadOptions(token=token),
        ReadOptions(Consistency.BOUNDED, max_staleness_ms=1000),
    ):
        with pytest.raises(ReplicaBehind, match="holds no data") as caught:
            await get(empty, options)
        assert caught.value.retryable, options


async def test_a_node_that_has_heard_of_its_group_serves_although_the_group_holds_no_key() -> None:
    _leader, follower = two_nodes()
    for options in (LOCAL, ReadOptions(), LINEARIZABLE):
        assert (await get(follower, options)).kv is None


async def test_a_token_beyond_the_log_is_refused_at_once_with_a_leader_in_reach() -> None:
    leader, follower = two_nodes()
    await put(leader, b"v")
    ahead = CausalToken(LogIndex(1000)).encode(SCOPE)

    for options in (ReadOptions(token=ahead), ReadOptions(Consistency.LINEARIZABLE, ahead)):
        with pytest.raises(TokenAhead, match="index 1000, but the log ends at 2"):
            await asyncio.wait_for(get(follower, options, 30.0), 5.0)


async def test_a_node_that_is_cut_off_cannot_tell_a_token_ahead_from_being_behind_and_says_behind() -> None:
    leader, follower = two_nodes()
    follower.cut_off()
    token = await put(leader, b"v")

    with pytest.raises(ReplicaBehind):
        await get(follower, ReadOptions(token=token), SOON_S)


async def test_a_node_that_rejoins_while_a_read_waits_serves_it() -> None:
    leader, follower = two_nodes()
    follower.cut_off()
    token = await put(leader, b"v")
    reading = asyncio.create_task(get(follower, ReadOptions(token=token)))
    await follower.asked(2)  # it asks again while it waits

    follower.heal()

    assert value_of(await reading) == b"v"


async def test_a_linearizable_read_on_a_follower_sees_the_write_before_it() -> None:
    leader, follower = two_nodes()
    await put(leader, b"old")
    follower.hold()
    await put(leader, b"new")
    reading = asyncio.create_task(get(follower, LINEARIZABLE))
    await follower.asked(1)
    assert not reading.done()

    follower.heal()

    found = await reading
    assert value_of(found) == b"new"
    assert found.staleness_ms == 0.0


async def test_a_linearizable_read_fails_where_no_leader_is_reached_and_a_local_one_answers() -> None:
    leader, follower = two_nodes()
    await put(leader, b"old")
    follower.cut_off()
    await put(leader, b"new")

    with pytest.raises(NoLeader):
        await get(follower, LINEARIZABLE)
    found = await get(follower, LOCAL)
    assert value_of(found) == b"old"
    assert found.staleness_ms is not None
    assert found.staleness_ms > 0.0


async def test_a_bounded_read_waits_until_the_replica_is_fresh_or_fails() -> None:
    leader, follower = two_nodes()
    follower.hold()
    token = await put(leader, b"v")
    await asyncio.sleep(0.002)
    bounded = ReadOptions(Consistency.BOUNDED, max_staleness_ms=1)

    with pytest.raises(ReplicaBehind):
        await get(follower, bounded, SOON_S)
    reading = asyncio.create_task(get(follower, bounded))
    await asyncio.sleep(0)
    follower.heal()
    found = await reading
    assert (value_of(found), found.token) == (b"v", token)
    assert found.staleness_ms is not None
    assert found.staleness_ms <= 1


async def test_a_bounded_read_honours_a_token_too() -> None:
    leader, follower = two_nodes()
    follower.hold()
    token = await put(leader, b"v")

    with pytest.raises(ReplicaBehind):
        await get(follower, ReadOptions(Consistency.BOUNDED, token, max_staleness_ms=60_000), SOON_S)


async def test_the_token_of_a_read_covers_exactly_what_it_saw() -> None:
    leader, follower = two_nodes()
    old = await put(leader, b"old")
    follower.hold()
    new = await put(leader, b"new")

    assert (await get(follower, LOCAL)).token == old
    assert (await get(leader, LOCAL)).token == new


@pytest.mark.parametrize("level", list(Consistency))
async def test_a_malformed_or_foreign_token_is_refused_at_every_level(level: Consistency) -> None:
    leader, _ = two_nodes()
    bound = 1000 if level is Consistency.BOUNDED else 0

    for token in ("garbage", CausalToken(LogIndex(0)).encode(token_scope(b"bank"))):
        with pytest.raises(InvalidToken):
            await get(leader, ReadOptions(level, token, bound))


@pytest.mark.parametrize(
    "options", [ReadOptions(Consistency.BOUNDED), ReadOptions(Consistency.CAUSAL, max_staleness_ms=5)]
)
async def test_a_bound_that_contradicts_the_level_is_refused(options: ReadOptions) -> None:
    leader, _ = two_nodes()

    with pytest.raises(InvalidArgument, match="max_staleness_ms"):
        await get(leader, options)


async def test_a_read_that_is_given_up_leaves_no_task_behind() -> None:
    leader, follower = two_nodes()
    follower.cut_off()
    token = await put(leader, b"v")
    reading = asyncio.create_task(get(follower, ReadOptions(token=token)))
    await follower.asked(1)

    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)

    assert asyncio.all_tasks() == {asyncio.current_task()}
