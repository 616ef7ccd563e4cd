"""How long something may go on: progress puts the end off, never beyond a deadline; it can be ended from outside."""

import asyncio
import math


class Patience:
    """Use as `async with`; what runs inside is cancelled, and TimeoutError raised, when it is over."""

    def __init__(self, silence_s: float, total_s: float = math.inf) -> None:
        self._loop = asyncio.get_running_loop()
        self._silence_s = silence_s
        self._deadline_s = self._loop.time() + total_s
        self._timeout = asyncio.timeout_at(self._next_s(0.0))
        self._entered = False
        self.is_ended = False

    async def __aenter__(self) -> "Patience":
        if self.is_ended:
            raise TimeoutError
        await self._timeout.__aenter__()
        self._entered = True
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._entered = False
        await self._timeout.__aexit__(*raised)  # type: ignore[arg-type]  # passed on as they came

    def progress(self, pause_s: float = 0.0) -> None:
        """Something arrived; the next is due within the silence after `pause_s`."""
        if self._is_running() and not self.is_ended:
            self._timeout.reschedule(self._next_s(pause_s))

    def end(self) -> None:
        """Now, whatever may still arrive."""
        if self._is_running() and not self.is_ended:
            self._timeout.reschedule(self._loop.time())
        self.is_ended = True

    def _is_running(self) -> bool:
        return self._entered and not self._timeout.expired()

    def _next_s(self, pause_s: float) -> float:
        return min(self._deadline_s, self._loop.time() + pause_s + self._silence_s)
