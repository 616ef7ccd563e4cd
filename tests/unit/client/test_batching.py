"""Calls share batches: what leaves together, what waits, and that each caller gets one result of its own."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.client.batching import Batching
from replicator.client.group_time import GroupTime
from replicator.client.lanes import BATCH_BYTES_MAX, BATCHES_IN_FLIGHT_MAX, CALLS_WAITING_MAX
from replicator.client.read_lane import READ_BATCHES_IN_FLIGHT_MAX
from replicator.client.write_window import WRITES_IN_FLIGHT_MAX
from replicator.model.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NoLeader,
    OutcomeUnknown,
    Overloaded,
    ReplicatorError,
    SessionExpired,
    Unavailable,
)
from replicator.model.limits import BATCH_OPERATIONS_MAX
from replicator.model.values import CompareAndSetResult, Consistency, DeleteResult, PutResult
from replicator.v1 import kv_pb2
from tests.support.batches import FakeFailover, found, written

LONG_S = 60.0


def later(timeout_s: float = LONG_S) -> float:
    return time.monotonic() + timeout_s


async def answer(request: kv_pb2.BatchRequest) -> kv_pb2.BatchResponse:
    return written(request.write) if request.HasField("write") else found(request.read)


class Held:
    """A node that answers when it is told to."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def __call__(self, request: kv_pb2.BatchRequest) -> kv_pb2.BatchResponse:
        await self.go_on.wait()
        return await answer(request)


async def steps(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_the_writes_of_one_loop_iteration_are_one_batch_in_their_order() -> None:
    failover = FakeFailover(answer)
    batching = Batching(failover.as_failover(), GroupTime())

    *puts, compared, deleted = await asyncio.gather(
        *(batching.put(b"%d" % number, b"v", later()) for number in range(3)),
        batching.compare_and_set(b"c", b"w", 7, later()),
        batching.delete(b"d", later()),
    )

    [request] = failover.writes.requests
    assert list(request.write.keys) == [b"0", b"1", b"2", b"c", b"d"]
    assert list(request.write.values) == [b"v", b"v", b"v", b"w"]
    assert list(request.write.kinds) == [0, 0, 0, 2, 1]
    assert list(request.write.expected_revisions) == [7]
    assert (request.write.first_sequence, request.write.oldest_pending) == (1, 1)
    assert puts == [PutResult(1, "t"), PutResult(2, "t"), PutResult(3, "t")]
    assert compared == CompareAndSetResult(succeeded=True, revision=4, value=None, mod_revision=4, token="t")
    assert deleted == DeleteResult(deleted=True, revision=5, token="t")
    await batching.close()


async def test_plain_puts_send_no_columns_that_say_nothing() -> None:
    failover = FakeFailover(answer)
    batching = Batching(failover.as_failover(), GroupTime())
    await batching.put(b"k", b"v", later())
    [request] = failover.writes.requests
    assert (len(request.write.kinds), len(request.write.expected_revisions)) == (0, 0)
    await batching.close()


async def test_reads_share_a_batch_if_they_ask_the_same_of_a_replica() -> None:
    failover = FakeFailover(answer)
    batching = Batching(failover.as_failover(), GroupTime())
    levels = [(None, None), (Consistency.LINEARIZABLE, None), (None, "token"), (None, None)]

    await asyncio.gather(*(batching.get(b"k", level, token, None, later()) for level, token in levels))

    assert sorted(len(request.read.keys) for request in failover.reads.requests) == [1, 1, 2]
    assert {request.read.options.token for request in failover.reads.requests} == {"", "token"}
    await batching.close()


async def test_calls_gather_while_enough_batches_are_under_way() -> None:
    held = Held()
    failover = FakeFailover(held)
    batching = Batching(failover.as_failover(), GroupTime())
    calls = []
    for number in range(BATCHES_IN_FLIGHT_MAX + 10):
        calls.append(asyncio.create_task(batching.put(b"%d" % number, b"v", later())))
        await steps()
    assert [len(request.write.keys) for request in failover.writes.requests] == [1] * BATCHES_IN_FLIGHT_MAX

    held.go_on.set()
    await asyncio.gather(*calls)

    assert [len(request.write.keys) for request in failover.writes.requests][BATCHES_IN_FLIGHT_MAX:] == [10]
    await batching.close()


async def test_a_batch_is_bounded_in_operations_in_bytes_and_by_what_the_cluster_remembers() -> None:
    failover = FakeFailover(answer)
    batching = Batching(failover.as_failover(), GroupTime())

    await asyncio.gather(*(batching.put(b"k", bytes(BATCH_BYTES_MAX // 2 - 1), later()) for _ in range(3)))
    assert [len(request.write.keys) for request in failover.writes.requests] == [2, 1]
    await batching.put(b"k", bytes(3 * BATCH_BYTES_MAX), later())  # alone, and the node judges it
    failover.writes.requests.clear()

    await asyncio.gather(*(batching.put(b"k", b"v", later()) for _ in range(WRITES_IN_FLIGHT_MAX + 5)))
    assert max(len(request.write.keys) for request in failover.writes.requests) <= WRITES_IN_FLIGHT_MAX

    await asyncio.gather(*(batching.get(b"k", None, None, None, later()) for _ in range(BATCH_OPERATIONS_MAX + 5)))
    assert [len(request.read.keys) for request in failover.reads.requests] == [BATCH_OPERATIONS_MAX, 5]
    await batching.close()


async def test_reads_that_wait_for_a_place_get_it_in_turn_also_when_one_of_them_has_gone() -> None:
    held = [asyncio.Event() for _ in range(READ_BATCHES_IN_FLIGHT_MAX)]

    async def hold(request: kv_pb2.BatchRequest) -> kv_pb2.BatchResponse:
        number = int(request.read.options.token)
        if number < len(held):
            await held[number].wait()
        return found(request.read)

    batching = Batching(FakeFailover(hold).as_failover(), GroupTime())
    reads = [asyncio.create_task(batching.get(b"k", None, str(number), None, later())) for number in range(66)]
    await steps()
    reads[64].cancel()
    held[0].set()

    async with asyncio.timeout(LONG_S):
        await reads[65]
    assert not reads[1].done()
    await batching.close()
    await asyncio.gather(*reads, return_exceptions=True)


async def test_one_call_too_many_is_refused_and_the_others_go_on() -> None:
    held = Held()
    batching = Batching(FakeFailover(held).as_failover(), GroupTime())
    first = [asyncio.create_task(batching.put(b"k", b"v", later())) for _ in range(WRITES_IN_FLIGHT_MAX)]
    await steps()
    waiting = [asyncio.create_task(batching.put(b"k", b"v", later())) for _ in range(CALLS_WAITING_MAX)]
    await steps()
    with pytest.raises(Overloaded):
        await batching.put(b"k", b"v", later())

    waiting[0].cancel()
    await steps()
    one_more = asyncio.create_task(batching.put(b"k", b"v", later()))
    held.go_on.set()

    assert len(await asyncio.gather(*first, *waiting[1:], one_more)) == WRITES_IN_FLIGHT_MAX + CALLS_WAITING_MAX
    await batching.close()


async def test_a_cancelled_call_leaves_its_sequence_in_place_and_its_batch_goes_on() -> None:
    held = Held()
    failover = FakeFailover(held)
    batching = Batching(failover.as_failover(), GroupTime())
    calls = [asyncio.create_task(batching.put(b"%d" % number, b"v", later())) for number in range(3)]
    await steps()

    calls[1].cancel()
    await steps()
    held.go_on.set()

    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(ended[1], asyncio.CancelledError)
    assert [getattr(result, "revision", None) for result in ended] == [1, None, 3]
    await batching.close()


async def test_a_call_cancelled_before_it_leaves_is_never_sent() -> None:
    held = Held()
    failover = FakeFailover(held)
    batching = Batching(failover.as_failover(), GroupTime())
    sent = [asyncio.create_task(batching.put(b"k", b"v", later())) for _ in range(WRITES_IN_FLIGHT_MAX)]
    await steps()
    late = [asyncio.create_task(batching.put(name, b"v", later())) for name in (b"gone", b"stays")]
    await steps()
    late[0].cancel()
    held.go_on.set()
    await asyncio.gather(*sent, late[1])

    assert list(failover.writes.requests[-1].write.keys) == [b"stays"]
    await batching.close()


async def test_a_batch_that_nobody_waits_for_is_given_up_and_its_name_released() -> None:
    stopped = asyncio.Event()

    async def hang(request: kv_pb2.BatchRequest) -> kv_pb2.BatchResponse:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        raise AssertionError

    batching = Batching(FakeFailover(hang).as_failover(), GroupTime())
    calls = [asyncio.create_task(batching.put(b"k", b"v", later())) for _ in range(3)]
    await steps()
    for call in calls:
        call.cancel()
    await asyncio.wait_for(stopped.wait(), LONG_S)
    await steps()

    assert batching._writes._window.in_flight == 0
    await batching.close()


async def test_each_caller_of_a_batch_has_its_own_deadline() -> None:
    """Of a write that was sent nobody knows more; a read, and a write that waits, surely did not happen."""
    held = Held()
    batching = Batching(FakeFailover(held).as_failover(), GroupTime())
    patient = asyncio.create_task(batching.put(b"k", b"v", later()))
    hurried = asyncio.create_task(batching.put(b"k", b"v", later(0.01)))
    reading = asyncio.create_task(batching.get(b"k", None, None, None, later(0.01)))
    patient_read = asyncio.create_task(batching.get(b"k", None, None, None, later()))
    await steps()
    waiting = [asyncio.create_task(batching.put(b"k", b"v", later())) for _ in range(WRITES_IN_FLIGHT_MAX)]
    unsent = asyncio.create_task(batching.put(b"k", b"v", later(0.01)))

    with pytest.raises(OutcomeUnknown):
        await hurried
    with pytest.raises(DeadlineExceeded):
        await reading
    with pytest.raises(DeadlineExceeded, match="nothing happened"):
        await unsent
    held.go_on.set()
    assert (await patient).revision == 1
    assert (await patient_read).value == b"k"
    await asyncio.gather(*waiting)
    await batching.close()


async def test_a_refusal_that_names_one_operation_fails_that_one_and_the_others_are_sent_again() -> None:
    async def refuse(request: kv_pb2.BatchRequest) -> kv_pb2.BatchResponse:
        keys = list(request.write.keys if request.HasField("write") else request.read.keys)
        if b"bad" in keys:
            raise InvalidArgument("bad key", metadata={"field": "key", "position": str(keys.index(b"bad"))})
        return await answer(request)

    batching = Batching(FakeFailover(refuse).as_failover(), GroupTime())
    keys = (b"a", b"bad", b"b", b"bad", b"c")
    writes = await asyncio.gather(*(batching.put(key, b"v", later()) for key in keys), return_exceptions=True)
    reads = await asyncio.gather(
        *(batching.get(key, None, None, None, later()) for key in keys), return_exceptions=True
    )

    for ended in (writes, reads):
        assert [isinstance(result, InvalidArgument) for result in ended] == [False, True, False, True, False]
    assert len({id(result) for result in writes}) == len(keys), "an exception belongs to one task"
    await batching.close()


async def test_a_forgotten_client_id_is_replaced_for_a_whole_batch_and_not_for_ever() -> None:
    refused = 0

    async def forget(request: kv_pb2.BatchRequest) -> kv_pb2.BatchResponse:
        nonlocal refused
        refused += 1
        if refused == 1:
            raise SessionExpired("forgotten")
        if refused == 2:
            return written(request.write, errors=[(at, SessionExpired("no")) for at in range(len(request.write.keys))])
        return await answer(request)

    failover = FakeFailover(forget)
    batching = Batching(failover.as_failover(), GroupTime())
    await asyncio.gather(*(batching.put(b"k", b"v", later()) for _ in range(3)))
    assert len({request.write.client_id for request in failover.writes.requests}) == 3

    async def always(request: kv_pb2.BatchRequest) -> kv_pb2.BatchResponse:
        raise SessionExpired("forgotten")

    failover.writes.handler = always
    with pytest.raises(SessionExpired):
        await batching.put(b"k", b"v", later())
    await batching.close()


async def test_a_read_that_found_no_room_in_the_answer_is_asked_again() -> None:
    async def stingy(request: kv_pb2.BatchRequest) -> kv_pb2.BatchResponse:
        return found(request.read, count=2)

    failover = FakeFailover(stingy)
    batching = Batching(failover.as_failover(), GroupTime())
    results = await asyncio.gather(*(batching.get(b"%d" % n, None, None, None, later()) for n in range(5)))

    assert [result.value for result in results] == [b"%d" % n for n in range(5)]
    assert [len(request.read.keys) for request in failover.reads.requests] == [5, 3, 1]
    await batching.close()


async def test_closing_ends_what_waits_as_not_sent_and_what_was_sent_as_unknown() -> None:
    batching = Batching(FakeFailover(Held()).as_failover(), GroupTime())
    sent = [asyncio.create_task(batching.put(b"k", b"v", later())) for _ in range(WRITES_IN_FLIGHT_MAX)]
    await steps()
    waiting = asyncio.create_task(batching.put(b"k", b"v", later()))
    reading = asyncio.create_task(batching.get(b"k", None, None, None, later()))
    await steps()

    await batching.close()

    ended = await asyncio.gather(*sent, waiting, reading, return_exceptions=True)
    assert {type(error) for error in ended[:-2]} == {OutcomeUnknown}
    assert [type(error) for error in ended[-2:]] == [Unavailable, Unavailable]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 32))
def test_whatever_happens_each_caller_gets_exactly_one_result(seed: int) -> None:
    asyncio.run(_play(random.Random(seed), seed))


async def _play(dice: random.Random, seed: int) -> None:
    errors: list[Callable[[int], ReplicatorError]] = [
        lambda _: NoLeader("none"),
        lambda _: OutcomeUnknown("perhaps"),
        lambda _: SessionExpired("forgotten"),
        lambda count: InvalidArgument("bad", metadata={"position": str(dice.randrange(count + 1))}),
    ]

    async def node(request: kv_pb2.BatchRequest) -> kv_pb2.BatchResponse:
        for _ in range(dice.randrange(8)):
            await asyncio.sleep(0)
        count = len(request.write.keys) or len(request.read.keys)
        if dice.random() < 0.3:
            raise dice.choice(errors)(count)
        if request.HasField("read"):
            return found(request.read, count=dice.randrange(count + 2))  # at times none, or more than asked for
        refusals = [(at, dice.choice(errors[:3])(count)) for at in range(count) if dice.random() < 0.1]
        lying = dice.random() < 0.05
        return kv_pb2.BatchResponse() if lying else written(request.write, errors=refusals)

    batching = Batching(FakeFailover(node).as_failover(), GroupTime())
    calls: list[asyncio.Task[object]] = []

    def one() -> Awaitable[object]:
        ends_s = later(dice.choice([LONG_S, 0.001, -1.0]))
        if dice.random() < 0.5:
            return batching.put(b"%d" % len(calls), b"v", ends_s)
        return batching.get(b"k", None, dice.choice([None, "t", "u"]), None, ends_s)

    closes_at = dice.choice([None, dice.randrange(30)])
    for step in range(30):
        if step == closes_at:
            await batching.close()
            break
        calls += [asyncio.ensure_future(one()) for _ in range(dice.randrange(6))]
        for call in calls:
            if dice.random() < 0.05:
                call.cancel()
        await steps(dice.randrange(3))
    done, pending = await asyncio.wait(calls, timeout=30.0) if calls else (set(), set())

    assert not pending, f"seed {seed}: {len(pending)} calls never ended"
    wrong = [call for call in done if not call.cancelled() and not isinstance(call.exception(), ReplicatorError | None)]
    assert wrong == [], f"seed {seed}"
    await batching.close()
    assert batching._writes._window.in_flight == 0, f"seed {seed}: a name was never released"
    assert batching._writes._places.waiting_calls == batching._read_places.waiting_calls == 0, f"seed {seed}"
    assert batching._writes._places._free == BATCHES_IN_FLIGHT_MAX, f"seed {seed}: a place was never given back"
