"""Frames that wait for one link. Bounded in bytes; never blocks the one who adds."""

import asyncio
from collections import deque
from typing import Final

FRAME_COST_BYTES: Final = 64  # a frame's own weight in memory, so that empty frames are bounded too


class SendQueue:
    """First in, first out, for one writer. A frame counts until `written`, that is while gRPC holds it back as well.

    An empty queue takes any frame, so that a frame greater than the bound is slow, not impossible.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._frames: deque[bytes] = deque()
        self._cost_bytes = 0
        self._payload_bytes = 0
        self._added = asyncio.Event()
        self._closed = False

    @property
    def queued_bytes(self) -> int:
        """Payload bytes not yet written."""
        return self._payload_bytes

    @property
    def queued_frames(self) -> int:
        return len(self._frames)

    def add(self, payload: bytes) -> bool:
        """False, and nothing changes, if the queue is full or closed."""
        cost_bytes = len(payload) + FRAME_COST_BYTES
        if self._closed or (self._frames and self._cost_bytes + cost_bytes > self._bytes_max):
            return False
        self._frames.append(payload)
        self._cost_bytes += cost_bytes
        self._payload_bytes += len(payload)
        self._added.set()
        return True

    def close(self) -> None:
        """Takes no more; what is in stays to be written."""
        self._closed = True
        self._added.set()

    async def first(self) -> bytes | None:
        """The oldest frame, which stays until `written`. None once the queue is closed and empty."""
        while not self._frames:
            if self._closed:
                return None
            self._added.clear()
            await self._added.wait()
        return self._frames[0]

    def written(self) -> None:
        """The oldest frame has left."""
        payload = self._frames.popleft()
        self._cost_bytes -= len(payload) + FRAME_COST_BYTES
        self._payload_bytes -= len(payload)
        assert self._cost_bytes >= 0, "a frame is counted once"
        assert bool(self._frames) == (self._cost_bytes > 0), "no frames, no cost"
