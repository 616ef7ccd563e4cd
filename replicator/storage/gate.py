"""Many readers, or one change of what they read from: a resize of the map, or other data in its place. Never both.

`set_mapsize` pulls the map from under every open transaction and cursor of the process (LMDB, mdb_env_set_mapsize), so
no reader may be inside. There are two kinds of readers. A *short* read waits for nothing, and the thread of the loop
makes no others: it must never wait for a *long* one on another thread. So a change first closes the gate to long
readers and waits until they are out, while short ones come and go; then it closes the gate to all, for the moment that
the change itself takes. (A map of the full size from the start would need no change, but then nothing would say that
the next write is beyond the blocks that are reserved: LMDB's full map is that sign.)

Waits are bounded: a reader that never leaves is a bug, and a node that hangs on it would hide it.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Final

from replicator.model.errors import StorageFailed

GATE_WAIT_S_MAX: Final = 30.0


class _Phase(Enum):
    OPEN = auto()
    LONG_READERS_LEAVE = auto()  # short ones still come and go
    CLOSED = auto()


class ReaderGate:
    """Not reentrant: a reader that enters twice can meet a change in between, and wait for itself."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._phase = _Phase.OPEN
        self._short = self._long = 0  # readers inside

    @property
    def exclusive_wanted(self) -> bool:
        """True while a change waits or runs; long readers look at this and step out."""
        return self._phase is not _Phase.OPEN

    def enter(self) -> None:
        """A short reader: waits at most for the change itself and for short readers of other threads."""
        with self._changed:
            if self._phase is _Phase.CLOSED:
                self._wait_to_enter(lambda: self._phase is not _Phase.CLOSED)
            self._short += 1

    def leave(self) -> None:
        with self._changed:
            assert self._short > 0
            self._short -= 1
            self._tell_the_change()

    def enter_long(self) -> None:
        """A long reader, never on the loop's thread: waits while a change is wanted or runs."""
        with self._changed:
            if self._phase is not _Phase.OPEN:
                self._wait_to_enter(lambda: self._phase is _Phase.OPEN)
            self._long += 1

    def leave_long(self) -> None:
        with self._changed:
            assert self._long > 0
            self._long -= 1
            self._tell_the_change()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Alone: no reader is inside, and none comes in. One thread at a time asks for this, and the body is short.

        Raises StorageFailed if a reader does not leave in time.
        """
        with self._changed:
            assert self._phase is _Phase.OPEN, "only the writer changes what is read"
            try:
                self._phase = _Phase.LONG_READERS_LEAVE
                self._wait_to_be_alone(lambda: self._long == 0)
                self._phase = _Phase.CLOSED
                self._wait_to_be_alone(lambda: self._short == 0)
            except BaseException:
                self._reopen()
                raise
        try:
            yield
        finally:
            with self._changed:
                self._reopen()

    def _wait_to_enter(self, is_open: Callable[[], bool]) -> None:
        if not self._changed.wait_for(is_open, GATE_WAIT_S_MAX):
            raise StorageFailed(f"a change of the data file did not end within {GATE_WAIT_S_MAX:g} s")

    def _wait_to_be_alone(self, are_out: Callable[[], bool]) -> None:
        if not self._changed.wait_for(are_out, GATE_WAIT_S_MAX):
            raise StorageFailed(f"{self._short + self._long} readers did not leave within {GATE_WAIT_S_MAX:g} s")

    def _tell_the_change(self) -> None:
        if self._phase is not _Phase.OPEN:
            self._changed.notify_all()

    def _reopen(self) -> None:
        self._phase = _Phase.OPEN
        self._changed.notify_all()
