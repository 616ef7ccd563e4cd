"""Batches through the use cases: one question for many reads, order and exactly-once for many writes."""

import asyncio

import pytest

from replicator.model.causal_token import CausalToken
from replicator.model.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NoLeader,
    OutcomeUnknown,
    Overloaded,
    ReplicatorError,
    SessionExpired,
)
from replicator.model.limits import SESSION_FLOOR_STEP_MAX
from replicator.model.values import Consistency
from replicator.service.read_levels import ReadOptions
from replicator.service.write_batch import BatchWritten, WriteColumns
from replicator.v1 import kv_pb2
from tests.support.memory_cluster import SCOPE, MemoryCluster, MemoryNode

CLIENT = b"c" * 16
PUT, DELETE, COMPARE = kv_pb2.WRITE_KIND_PUT, kv_pb2.WRITE_KIND_DELETE, kv_pb2.WRITE_KIND_COMPARE_AND_SET
BYTES_MAX = 1 << 20


def a_node() -> MemoryNode:
    return MemoryCluster().add("n1", "eu")


def puts(*keys: bytes, first: int = 1, oldest: int = 1) -> WriteColumns:
    return WriteColumns(CLIENT, first, oldest, 1, (), keys, [b"v"] * len(keys), ())


async def write(node: MemoryNode, batch: WriteColumns) -> BatchWritten:
    return await node.writes().write_batch(batch, timeout_s=5.0)


async def test_a_batch_is_evaluated_in_its_order_and_a_later_write_sees_an_earlier_one() -> None:
    node = a_node()
    batch = WriteColumns(
        CLIENT, 1, 1, 1,
        kinds=[COMPARE, COMPARE, DELETE, COMPARE],
        keys=[b"k"] * 4,
        values=[b"1", b"2", b"3"],
        expected_revisions=[0, 1, 7],
    )  # fmt: skip
    written = await write(node, batch)
    assert (written.revisions, written.unchanged, written.found, written.errors) == ([1, 2, 3, 3], [3], [], [])
    assert CausalToken.decode(written.token, SCOPE).index == node.applied_index


async def test_a_batch_sent_again_is_applied_once() -> None:
    node = a_node()
    first = await write(node, puts(b"a", b"b", b"c"))
    again = await write(node, puts(b"a", b"b", b"c"))

    assert node.replica.revision == 3
    assert again == first
    assert first.revisions == [1, 2, 3]


@pytest.mark.parametrize("failure", [NoLeader("1"), OutcomeUnknown("2"), DeadlineExceeded("3")])
async def test_a_batch_is_one_proposal_whose_error_is_that_of_the_batch(failure: ReplicatorError) -> None:
    node = a_node()
    node.raises.append(failure)
    with pytest.raises(type(failure)) as caught:
        await write(node, puts(b"a", b"b"))
    assert caught.value is failure
    assert node.replica.revision == 0


async def test_a_refusal_of_the_session_is_the_error_of_the_whole_batch() -> None:
    node = a_node()
    await write(node, puts(b"a"))
    far = 3 * SESSION_FLOOR_STEP_MAX
    with pytest.raises(Overloaded):
        await write(node, puts(b"a", b"b", first=far, oldest=far))  # the floor moves on by a step at a time
    with pytest.raises(SessionExpired):
        await write(node, WriteColumns(b"d" * 16, 9, 9, 1, (), [b"a", b"b"], [b"", b""], ()))


async def test_without_write_ids_each_time_is_a_write() -> None:
    node = a_node()
    batch = WriteColumns(b"", 0, 0, 0, (), [b"a", b"b"], [b"", b""], ())
    await write(node, batch)
    assert (await write(node, batch)).revisions == [3, 4]


async def test_a_batch_of_reads_has_one_moment_one_question_and_one_token() -> None:
    node = a_node()
    await write(node, puts(b"a", b"b"))
    options = ReadOptions(Consistency.LINEARIZABLE)

    found = await node.reads().get_batch([b"b", b"none", b"a"], options, timeout_s=5.0, bytes_max=BYTES_MAX)

    assert node.read_indexes == 1
    assert found.columns.mod_revisions == [2, 0, 1]
    assert found.columns.values == [b"v", b"", b"v"]
    assert (found.revision, CausalToken.decode(found.token, SCOPE).index) == (2, node.applied_index)
    assert found.staleness_ms is not None


async def test_a_linearizable_batch_asks_after_it_arrived() -> None:
    """A write acknowledged before the batch is seen by it, also at a node that is behind."""
    cluster = MemoryCluster()
    leader, follower = cluster.add("n1", "eu"), cluster.add("n2", "us")
    follower.hold()
    await write(leader, puts(b"k"))
    reading = asyncio.create_task(
        follower.reads().get_batch([b"k"], ReadOptions(Consistency.LINEARIZABLE), timeout_s=30.0, bytes_max=BYTES_MAX)
    )
    await follower.asked(1)
    assert not reading.done()
    follower.heal()
    assert (await reading).columns.values == [b"v"]


@pytest.mark.parametrize("keys", [[], [b""], [b"k", b"x" * 4097]])
async def test_wrong_keys_are_refused_before_anything_is_asked(keys: list[bytes]) -> None:
    node = a_node()
    with pytest.raises(InvalidArgument):
        await node.reads().get_batch(keys, ReadOptions(Consistency.LINEARIZABLE), timeout_s=5.0, bytes_max=BYTES_MAX)
    assert node.read_indexes == 0
