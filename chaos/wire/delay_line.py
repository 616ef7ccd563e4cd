"""The bytes that are on their way in one direction of one connection. Sans-IO: time is handed in.

Invariant: what comes out is what went in, in order, none of it early; only the end of the connection empties the line.
"""

import random
from collections import deque
from dataclasses import dataclass
from enum import Enum

from chaos.wire.settings import LineSettings


class End(Enum):
    """How a side ended the stream; travels in order behind its last byte."""

    EOF = "eof"  # it will send no more, and may still listen
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class _Piece:
    arrives_s: float
    content: bytes | End


class DelayLine:
    """A queue whose pieces become due when they would have arrived."""

    def __init__(self, settings: LineSettings, dice: random.Random) -> None:
        self.settings = settings
        self.held_bytes = 0
        self._dice = dice
        self._pieces: deque[_Piece] = deque()
        self._busy_until_s = 0.0
        self._last_arrival_s = 0.0

    def push(self, content: bytes | End, now_s: float) -> bool:
        """Sends a piece on its way. False: it is lost for good, and so is the connection."""
        size = len(content) if isinstance(content, bytes) else 0
        late_s = self.settings.loss.draw_s(self._dice) if size else 0.0
        if late_s is None:
            return False
        self._busy_until_s = self.settings.bandwidth.sent_by_s(size, now_s=now_s, busy_until_s=self._busy_until_s)
        arrives_s = self._busy_until_s + self.settings.latency.draw_s(self._dice) + late_s
        self._last_arrival_s = max(self._last_arrival_s, arrives_s)  # a later piece never overtakes
        self._pieces.append(_Piece(self._last_arrival_s, content))
        self.held_bytes += size
        return True

    def pop_due(self, now_s: float) -> list[bytes | End]:
        """Everything that has arrived by now, in order."""
        due: list[bytes | End] = []
        while self._pieces and self._pieces[0].arrives_s <= now_s:
            content = self._pieces.popleft().content
            self.held_bytes -= len(content) if isinstance(content, bytes) else 0
            due.append(content)
        assert self.held_bytes >= 0, "no piece is counted out twice"
        return due

    @property
    def next_arrival_s(self) -> float | None:
        """When the first piece is due; None if the line is empty."""
        return self._pieces[0].arrives_s if self._pieces else None

    @property
    def is_full(self) -> bool:
        """True while the sender has to wait."""
        return self.held_bytes >= self.settings.hold_bytes_max

    @property
    def has_room(self) -> bool:
        """True once a sender that waited may go on; well below full, so that it does not stop and go on every piece."""
        return self.held_bytes <= self.settings.hold_bytes_max // 2
