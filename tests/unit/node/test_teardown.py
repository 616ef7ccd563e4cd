"""Stopping goes backwards, reaches every step, and ends."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from replicator.node.teardown import Teardown


def noting(name: str, stopped: list[str]) -> Callable[[], Awaitable[None]]:
    async def stop() -> None:
        stopped.append(name)

    return stop


async def test_steps_run_in_the_reverse_order_of_their_start() -> None:
    teardown, stopped = Teardown(), list[str]()
    for name in ("storage", "engine", "api"):
        teardown.add(name, noting(name, stopped))

    assert await teardown.unwind(budget_s=5)

    assert stopped == ["api", "engine", "storage"]


async def test_a_step_that_fails_does_not_keep_the_rest_open(caplog: pytest.LogCaptureFixture) -> None:
    teardown, stopped = Teardown(), list[str]()

    async def fail() -> None:
        raise OSError("no")

    teardown.add("storage", noting("storage", stopped))
    teardown.add("api", fail)

    assert not await teardown.unwind(budget_s=5)

    assert stopped == ["storage"]
    assert "stopping api failed" in caplog.text


async def test_a_step_that_hangs_is_given_up_and_the_rest_still_get_their_turn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    teardown, stopped = Teardown(), list[str]()

    async def hang() -> None:
        await asyncio.Event().wait()

    teardown.add("storage", noting("storage", stopped))
    teardown.add("api", hang)

    assert not await teardown.unwind(budget_s=0.01)

    assert stopped == ["storage"]
    assert "stopping api timed out" in caplog.text


async def test_a_second_unwind_finds_nothing_to_do() -> None:
    teardown, stopped = Teardown(), list[str]()
    teardown.add("api", noting("api", stopped))

    await teardown.unwind(budget_s=5)
    await teardown.unwind(budget_s=5)

    assert stopped == ["api"]
