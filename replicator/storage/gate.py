"""Lets many readers in, or one resize of the memory map, never both.

`set_mapsize` pulls the map from under every open transaction and cursor of the process (LMDB, mdb_env_set_mapsize), so
it waits until the readers are out, and new ones wait until it is done. Waits are bounded: a reader that never leaves is
a bug, and a node that hangs on it would hide it.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from replicator.model.errors import StorageFailed

GATE_WAIT_S_MAX: Final = 30.0


class ReaderGate:
    """Not reentrant: a reader that enters twice can meet a resize in between, and wait for itself."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._readers = 0
        self._exclusive_wanted = False

    @property
    def exclusive_wanted(self) -> bool:
        """True while a resize waits or runs; long readers look at this and step out."""
        return self._exclusive_wanted

    def enter(self) -> None:
        """Waits while a resize is wanted or runs."""
        with self._changed:
            if self._exclusive_wanted and not self._changed.wait_for(self._is_open, GATE_WAIT_S_MAX):
                raise StorageFailed(f"a resize of the map did not end within {GATE_WAIT_S_MAX:g} s")
            self._readers += 1

    def leave(self) -> None:
        with self._changed:
            assert self._readers > 0
            self._readers -= 1
            if self._exclusive_wanted:
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Alone: no reader is inside, and none comes in. One thread at a time asks for this."""
        with self._changed:
            assert not self._exclusive_wanted, "only the writer resizes"
            self._exclusive_wanted = True
            try:
                if not self._changed.wait_for(self._is_empty, GATE_WAIT_S_MAX):
                    raise StorageFailed(f"{self._readers} readers did not leave within {GATE_WAIT_S_MAX:g} s")
            except BaseException:
                self._reopen()
                raise
        try:
            yield
        finally:
            with self._changed:
                self._reopen()

    def _reopen(self) -> None:
        self._exclusive_wanted = False
        self._changed.notify_all()

    def _is_open(self) -> bool:
        return not self._exclusive_wanted

    def _is_empty(self) -> bool:
        return self._readers == 0
