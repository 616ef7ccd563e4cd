"""A node's pulse: several times a second it measures how late the loop runs and takes a snapshot of the node's vitals.

Exporters collect from their own threads; they are shown this snapshot, never the engine, which belongs to the loop.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from replicator.model.observe import Observer, Signal
from replicator.telemetry import Vitals

PERIOD_S: Final = 0.25


class Pulse:
    """`run` is the task; `vitals` may be called from any thread."""

    def __init__(self, observer: Observer, look: Callable[[], Vitals], on_beat: Callable[[], Awaitable[None]]) -> None:
        self._observer = observer
        self._look = look
        self._on_beat = on_beat
        self._last: Vitals | None = None

    def vitals(self) -> Vitals | None:
        """The latest snapshot; None before the first."""
        return self._last

    def refresh(self) -> None:
        """Takes a snapshot now. On the loop's thread only."""
        self._last = self._look()

    async def run(self) -> None:
        """Beats until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self.refresh()
            await self._on_beat()
            due_s = loop.time() + PERIOD_S
            await asyncio.sleep(PERIOD_S)
            self._observer.record(Signal.LOOP_LAG_S, max(0.0, loop.time() - due_s))
