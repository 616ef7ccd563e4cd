"""One connection through a link: two sockets, and a delay line for each direction between them.

Every wait is bounded by memory, not by time: a full line stops the reading from its source, a slow sink stops the
writing, and both go on by themselves.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import cast

from chaos.wire.cut import Cut, Direction
from chaos.wire.delay_line import DelayLine, End
from chaos.wire.reset import reset
from chaos.wire.settings import LineSettings, LinkCounters, LinkSettings


class Pipe:
    """One direction: reads from `source`, writes to `sink`, whichever of them exist by now."""

    def __init__(
        self, direction: Direction, settings: LineSettings, dice: random.Random, connection: "Connection"
    ) -> None:
        self.line = DelayLine(settings, dice)
        self.source: asyncio.Transport | None = None
        self.sink: asyncio.Transport | None = None
        self.ended = False  # the last byte and the end of the stream are delivered
        self._direction = direction
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._early: list[bytes | End] | None = []  # heard before both ends are there; None from then on
        self._stalled = True
        self._sink_is_busy = False
        self._source_is_paused = True

    def attach_source(self, source: asyncio.Transport) -> None:
        """The side that this direction hears is there."""
        self.source = source
        if self._source_is_paused:
            source.pause_reading()

    def receive(self, content: bytes | End) -> None:
        """From the source: takes one piece on its way."""
        counters = self._connection.counters
        if self._connection.ended:
            return
        if self._early is not None:  # uvloop begins to read after connection_made, whatever that says
            self._early.append(content)
            self._pause_source()
            return
        if not self.line.push(content, time.monotonic()):
            counters.connections_reset += 1
            self._connection.kill()
            return
        counters.buffered_bytes_peak = max(counters.buffered_bytes_peak, self.line.held_bytes)
        if self.line.is_full and not self._source_is_paused:
            counters.pauses += 1
            self._pause_source()
        self._schedule()

    def open(self) -> None:
        """Both ends are there: what was heard so far sets out now."""
        early, self._early = self._early or [], None
        for content in early:
            self.receive(content)

    def set_stalled(self, stalled: bool) -> None:
        """A stalled pipe neither reads nor writes, and never ends."""
        self._stalled = stalled
        if stalled:
            self._pause_source()
        self.pump()

    def set_sink_busy(self, busy: bool) -> None:
        """The sink's own buffer is full, or has room again."""
        self._sink_is_busy = busy
        self.pump()

    def pump(self) -> None:
        """Delivers what has arrived, lets the source go on if there is room, and sees to the next arrival."""
        if not self._stalled and not self._sink_is_busy and self.sink is not None:
            for content in self.line.pop_due(time.monotonic()):
                self._deliver(content)
        if self._source_is_paused and not self._stalled and self.line.has_room and self.sink is not None:
            self._source_is_paused = False
            if self.source is not None and not self.source.is_closing():
                self.source.resume_reading()
        self._schedule()

    def stop(self) -> None:
        """Forgets what is on its way."""
        self._stalled = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _deliver(self, content: bytes | End) -> None:
        assert self.sink is not None
        if self.sink.is_closing():
            return
        if content is End.RESET:
            self._connection.kill()
        elif content is End.EOF:
            self._end_sink(self.sink)
        else:
            self.sink.write(content)
            self._connection.count(self._direction, len(content))

    def _end_sink(self, sink: asyncio.Transport) -> None:
        try:
            sink.write_eof()
        except OSError:  # the sink has gone, and asyncio does not know yet, since nothing is being read from it
            sink.abort()  # its own end then travels back, as far as the line lets it
            return
        self.ended = True
        self._connection.close_if_ended()

    def _pause_source(self) -> None:
        self._source_is_paused = True
        if self.source is not None and not self.source.is_closing():
            self.source.pause_reading()

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_s = self.line.next_arrival_s
        if due_s is not None and not self._stalled and not self._sink_is_busy and self.sink is not None:
            # Relative, and checked again by `pump`: uvloop counts from the start of its turn, so timers may be early.
            self._timer = self._loop.call_later(max(0.0, due_s - time.monotonic()), self.pump)


class _Side(asyncio.Protocol):
    """One socket: what it hears goes into `out`, and `into` writes to it."""

    def __init__(self, out: Pipe, into: Pipe, opened: Callable[[asyncio.Transport], None]) -> None:
        self._out = out
        self._into = into
        self._opened = opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)
        self._out.attach_source(stream)
        self._into.sink = stream
        self._opened(stream)

    def data_received(self, data: bytes) -> None:
        self._out.receive(data)

    def eof_received(self) -> bool:
        self._out.receive(End.EOF)
        return True  # the other direction may still have to say something

    def connection_lost(self, _: Exception | None) -> None:
        self._out.receive(End.RESET)  # if both ends are closed, nobody hears it

    def pause_writing(self) -> None:
        self._into.set_sink_busy(True)

    def resume_writing(self) -> None:
        self._into.set_sink_busy(False)


class Connection:
    """Both directions. `accepted` talks to the side that dialled us, `dialled` to the target."""

    def __init__(
        self,
        settings: LinkSettings,
        dice: random.Random,
        counters: LinkCounters,
        on_end: Callable[["Connection"], None],
    ) -> None:
        self.counters = counters
        self.ended = False
        self._on_end = on_end
        self._forward = Pipe(Direction.FORWARD, settings.forward, dice, self)
        self._backward = Pipe(Direction.BACKWARD, settings.backward, dice, self)

    def accepted(self, opened: Callable[["Connection"], None]) -> asyncio.Protocol:
        """Protocol of the accepted socket. Nothing is read from it until `start` says that both ends are there."""
        return _Side(self._forward, self._backward, lambda _: opened(self))

    def dialled(self) -> asyncio.Protocol:
        """Protocol of the socket to the target."""
        return _Side(self._backward, self._forward, self._end_if_late)

    def start(self, cut: Cut) -> None:
        """Both sockets are there: lets bytes flow, in each direction that the cut leaves whole."""
        self._forward.open()
        self._backward.open()
        self.apply_cut(cut)

    def apply_settings(self, settings: LinkSettings) -> None:
        """For what is sent from now on; what is on its way keeps its arrival time."""
        self._forward.line.settings = settings.forward
        self._backward.line.settings = settings.backward
        self._forward.pump()
        self._backward.pump()

    def apply_cut(self, cut: Cut) -> None:
        """Stalls or frees each direction."""
        if self.ended:
            return
        self._forward.set_stalled(cut.stalls(Direction.FORWARD))
        self._backward.set_stalled(cut.stalls(Direction.BACKWARD))

    def kill(self) -> None:
        """Resets both sides."""
        self._end(reset)

    def close_if_ended(self) -> None:
        """Closes both sockets once both sides have said all they had."""
        if self._forward.ended and self._backward.ended:
            self._end(lambda transport: transport.close())

    def count(self, direction: Direction, size_bytes: int) -> None:
        """Bytes that were delivered."""
        if direction is Direction.FORWARD:
            self.counters.bytes_forward += size_bytes
        else:
            self.counters.bytes_backward += size_bytes

    def _end_if_late(self, transport: asyncio.Transport) -> None:
        if self.ended:  # the other side was gone before this one was reached
            reset(transport)

    def _end(self, end_one: Callable[[asyncio.Transport], None]) -> None:
        if self.ended:
            return
        self.ended = True
        for pipe in (self._forward, self._backward):
            pipe.stop()
            if pipe.source is not None:
                end_one(pipe.source)
        self._on_end(self)
