"""The thread of the clients without async: it lives while it has holders, and every call on it ends."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from replicator.client.loop_thread import LoopThread, give_back, lease
from replicator.model.errors import OutcomeUnknown

PATIENCE_S = 60.0


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    leased = lease()
    try:
        yield leased
    finally:
        give_back(leased)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "replicator-sync"]


async def identity() -> int:
    return threading.get_ident()


def test_all_holders_share_one_thread_which_ends_with_the_last() -> None:
    first, second = lease(), lease()
    assert first is second
    assert first.wait_for(identity()) != threading.get_ident()
    give_back(first)
    assert len(threads()) == 1
    give_back(second)
    assert threads() == []


def test_the_next_holder_gets_a_new_one() -> None:
    for _ in range(3):
        leased = lease()
        leased.wait_for(identity())
        give_back(leased)
    assert threads() == []


def test_what_a_call_raises_is_raised(thread: LoopThread) -> None:
    async def fails() -> None:
        raise ValueError("as given")

    with pytest.raises(ValueError, match="as given"):
        thread.wait_for(fails())


def test_a_call_from_its_own_thread_is_refused_and_not_waited_for(thread: LoopThread) -> None:
    async def calls_itself() -> None:
        thread.wait_for(identity())

    with pytest.raises(RuntimeError, match="its own event loop"):
        thread.wait_for(calls_itself())


def test_a_call_under_way_when_the_loop_ends_ends_as_unknown() -> None:
    leased = lease()
    begun = threading.Event()

    async def never_ends() -> None:
        begun.set()
        await asyncio.Event().wait()

    raised: list[BaseException] = []

    def call() -> None:
        try:
            leased.wait_for(never_ends())
        except OutcomeUnknown as error:
            raised.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    assert begun.wait(PATIENCE_S)
    give_back(leased)
    caller.join(PATIENCE_S)
    assert not caller.is_alive()
    assert len(raised) == 1


def test_a_call_after_the_end_is_refused() -> None:
    leased = lease()
    give_back(leased)
    with pytest.raises(RuntimeError, match="has ended"):
        leased.wait_for(identity())


def test_it_may_be_given_back_on_its_own_thread() -> None:
    leased = lease()
    thread = threads()[0]

    async def last() -> None:
        give_back(leased)

    leased.spawn(last())
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
