"""What ends a transfer. Waits have bounds a thousand times apart, so that no test depends on the machine's speed."""

import asyncio

import pytest

from replicator.model.patience import Patience

SOON_S, NEVER_S = 0.02, 60.0


async def test_silence_ends_it() -> None:
    with pytest.raises(TimeoutError):
        async with Patience(SOON_S):
            await asyncio.Event().wait()


async def keep_going(patience: Patience) -> None:
    """Bytes without end."""
    async with patience:
        while True:
            patience.progress()
            await asyncio.sleep(0)


async def test_the_deadline_ends_it_however_much_arrives() -> None:
    with pytest.raises(TimeoutError):
        await keep_going(Patience(NEVER_S, SOON_S))


async def test_each_byte_puts_the_end_off() -> None:
    patience = Patience(SOON_S)
    async with patience:
        for _ in range(4):
            patience.progress(pause_s=NEVER_S)
            await asyncio.sleep(2 * SOON_S)


async def test_ended_from_outside_no_byte_puts_it_off_any_more() -> None:
    patience = Patience(NEVER_S)
    asyncio.get_running_loop().call_soon(patience.end)
    with pytest.raises(TimeoutError):
        await keep_going(patience)
    assert patience.is_ended


async def test_ended_before_it_began_it_does_not_begin() -> None:
    patience = Patience(NEVER_S)
    patience.end()
    with pytest.raises(TimeoutError):
        async with patience:
            raise AssertionError("nothing runs inside")


async def test_a_cancelled_task_stays_cancelled_and_ending_twice_or_late_is_harmless() -> None:
    patience = Patience(NEVER_S)

    async def wait() -> None:
        async with patience:
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    patience.progress()
    patience.end()
    patience.end()
