"""Stops what was started, last first, within one time budget; a step that fails or hangs does not hold up the rest."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

_log = logging.getLogger(__name__)

STEP_S_MIN: Final = 0.2  # every step gets at least this much, however little is left


class Teardown:
    """A stack of steps. `unwind` runs each once."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, Callable[[], Awaitable[None]]]] = []

    def add(self, name: str, stop: Callable[[], Awaitable[None]]) -> None:
        """`stop` runs before the steps added earlier."""
        self._steps.append((name, stop))

    async def unwind(self, budget_s: float) -> bool:
        """True if every step ended, without an error, within the budget."""
        deadline_s = time.monotonic() + budget_s
        clean = True
        while self._steps:
            name, stop = self._steps.pop()
            try:
                async with asyncio.timeout(max(STEP_S_MIN, deadline_s - time.monotonic())):
                    await stop()
            except TimeoutError:
                clean = False
                _log.error("stopping %s timed out", name)
            except Exception:
                clean = False
                _log.exception("stopping %s failed", name)
        return clean
