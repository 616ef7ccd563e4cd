"""Frames that wait for one link. Bounded in bytes; never blocks the one who adds.

Two lanes: Raft's own frames, and those of callers (questions to the leader, and its answers). Raft's go first: a
follower that passes on megabytes of writes still answers appends in time, and a leader that answers reads with
megabytes is still heard. Within a lane, frames leave in the order in which they came: Raft counts on that. Between the
lanes, no order is kept, and none is needed: a question claims nothing, and what an answer says holds whenever it
arrives (engine/leading/forwards.py).
"""

import asyncio
from collections import deque
from typing import Final

FRAME_COST_BYTES: Final = 64  # a frame's own weight in memory, so that empty frames are bounded too
CALLERS_SHARE: Final = 2  # callers' frames take at most one part in so many: the rest stays free for Raft's
# Of Raft's frames, ahead of a caller's that waits. On a path that is full of entries, callers would else wait for ever.
AHEAD_BYTES_MAX: Final = 256 << 10


class _Lane:
    """First in, first out."""

    def __init__(self) -> None:
        self.frames: deque[bytes] = deque()
        self.cost_bytes = 0

    def add(self, payload: bytes) -> None:
        self.frames.append(payload)
        self.cost_bytes += len(payload) + FRAME_COST_BYTES

    def take(self) -> bytes:
        payload = self.frames.popleft()
        self.cost_bytes -= len(payload) + FRAME_COST_BYTES
        assert bool(self.frames) == (self.cost_bytes > 0), "no frames, no cost"
        return payload


class SendQueue:
    """For one writer. A frame counts until `written`, that is while gRPC holds it back as well.

    An empty lane takes any frame, so that a frame greater than the bound is slow, not impossible.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._raft, self._callers = _Lane(), _Lane()
        self._leaving: _Lane | None = None
        self._ahead_bytes = 0
        self._payload_bytes = 0
        self._added = asyncio.Event()
        self._closed = False

    @property
    def queued_bytes(self) -> int:
        """Payload bytes not yet written."""
        return self._payload_bytes

    @property
    def queued_frames(self) -> int:
        return len(self._raft.frames) + len(self._callers.frames)

    def add(self, payload: bytes, *, for_caller: bool = False) -> bool:
        """False, and nothing changes, if there is no room, or the queue is closed."""
        cost_bytes = len(payload) + FRAME_COST_BYTES
        lane = self._callers if for_caller else self._raft
        lane_bytes_max = self._bytes_max // CALLERS_SHARE if for_caller else self._bytes_max
        held_bytes = lane.cost_bytes if for_caller else self._raft.cost_bytes + self._callers.cost_bytes
        if self._closed or (lane.frames and held_bytes + cost_bytes > lane_bytes_max):
            return False
        lane.add(payload)
        self._payload_bytes += len(payload)
        self._added.set()
        return True

    def close(self) -> None:
        """Takes no more; what is in stays to be written."""
        self._closed = True
        self._added.set()

    async def first(self) -> bytes | None:
        """The frame that leaves next, which stays until `written`. None once the queue is closed and empty."""
        while not self.queued_frames:
            if self._closed:
                return None
            self._added.clear()
            await self._added.wait()
        if self._leaving is None:
            is_callers_turn = self._callers.frames and self._ahead_bytes >= AHEAD_BYTES_MAX
            self._leaving = self._raft if self._raft.frames and not is_callers_turn else self._callers
        return self._leaving.frames[0]

    def written(self) -> None:
        """The frame that `first` has shown has left."""
        assert self._leaving is not None, "a frame is shown before it leaves"
        payload, is_callers = self._leaving.take(), self._leaving is self._callers
        self._leaving = None
        self._payload_bytes -= len(payload)
        is_waited_for = bool(self._callers.frames) and not is_callers
        self._ahead_bytes = self._ahead_bytes + len(payload) + FRAME_COST_BYTES if is_waited_for else 0
