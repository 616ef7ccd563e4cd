"""Files that may be replaced while they are in use: what they held when they were last whole stays in force.

A look costs one stat a file. What it finds different is read and checked; what cannot be used, half-written files
above all, is named in the log once, changes nothing, and is tried again with the next look.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, TypeAlias, TypeVar

from replicator.certificates.identity import UnusableFile

_log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 2.0

Content = TypeVar("Content")
_Stat: TypeAlias = tuple[int, int, int, int] | None


class KeptFiles(Generic[Content]):
    """`current` may be read from any thread; `look` belongs to one at a time."""

    def __init__(self, files: Sequence[Path], read: Callable[[], Content]) -> None:
        """read: raises UnusableFile, which the first reading, here, passes on."""
        self._files = tuple(files)
        self._read = read
        self._seen = self._stats()
        self._current = read()
        self._problem = ""

    @property
    def current(self) -> Content:
        """In force. The same object until it changes."""
        return self._current

    def look(self, *, closely: bool = False) -> bool:
        """True if something else is in force now. closely: reads, whatever stat says."""
        seen = self._stats()  # before reading: what is written later shows at the next look
        if seen == self._seen and not closely:
            return False
        try:
            found = self._read()
        except UnusableFile as error:
            self._note(str(error))
            return False
        self._problem, self._seen = "", seen
        if found == self._current:
            return False
        self._current = found
        return True

    def _note(self, problem: str) -> None:
        if problem != self._problem:
            _log.warning("%s; the previous files stay in force, and the next check tries again", problem)
        self._problem = problem

    def _stats(self) -> tuple[_Stat, ...]:
        return tuple(_stat(file) for file in self._files)


def _stat(file: Path) -> _Stat:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
