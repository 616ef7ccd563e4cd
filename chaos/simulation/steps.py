"""What a piece of work does to names and bytes on the disk, step by step, and what a power failure leaves of it.

The work runs to its end on the real files, with the calls that change these noted, and then a part of it is undone: all
that comes after the step at which the power fails, and of the rest any of what no sync has made durable. A name is
durable once its directory is synced. Names in one directory become durable in the order in which they changed, those in
different directories in any order. Bytes are durable once their file is synced, or written through a descriptor that
syncs; until then any sectors of them may be on the disk. A folder that is removed may be there again with any of its
files.

Not noted: what LMDB writes (power.py has that). Of a data file that is given another name, the bytes count as durable
only if the process has synced them itself.
"""

import contextlib
import fcntl
import os
import random
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SECTOR_BYTES: Final = 512
_SYNCED_WRITES: Final = os.O_DSYNC
_NUMBERS: Final = re.compile(r"\b([0-9a-f]{16}|[0-9]{12})\b")

Undo = Callable[[random.Random | None], bool]


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the system.

    needs: the inode of the file or directory whose sync makes it durable; None if it is durable when it returns. syncs:
    what it makes durable itself. undo: takes back any part of it, by dice, or all of it without; whether it is still
    there whole. is_write: of bytes.
    """

    what: str
    needs: int | None
    syncs: int | None
    undo: Undo
    is_write: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """step: before or during which the power failed. is_whole: whether all bytes that the work wrote are there."""

    step: str
    is_whole: bool


END: Final = "the end"


class Steps:
    """Of one piece of work on the files in `root`. To be cut, or forgotten, once nothing holds these open any more."""

    def __init__(self, root: Path) -> None:
        self._root, self._before = root, root.with_name(f"{root.name}.before")  # there: other names of what is removed
        self._steps: list[Step] = []
        self._synced: dict[int, bytes] = {}
        self._named: set[Path] = set()
        self._descriptors: list[int] = []
        self._is_removing = False

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def names(self) -> list[str]:
        """Of all steps, in order."""
        return [step.what for step in self._steps]

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """What is done within is noted. If it raises, it is forgotten."""
        plain = [(owner, name, getattr(owner, name)) for owner, name in _CALLS]
        for owner, name, call in plain:
            setattr(owner, name, self._noting(call, getattr(self, f"_{name}")))
        try:
            yield
        except BaseException:
            self.forget()
            raise
        finally:
            for owner, name, call in plain:
                setattr(owner, name, call)

    def cut(self, dice: random.Random, at: int | None = None) -> Cut:
        """The power fails before or during the step with that number, or after the last one; None: at any step."""
        place = dice.randrange(max(1, len(self._steps))) if at is None else at
        cut_at = self._steps[place].what if place < len(self._steps) else END
        lost, is_whole = self._lost(place, dice), True
        for number in reversed(range(len(self._steps))):
            step = self._steps[number]
            if number > place or number in lost:
                is_there = step.undo(dice if number <= place else None)
                is_whole = is_whole and (is_there or not step.is_write)
        self.forget()
        return Cut(cut_at, is_whole)

    def _lost(self, place: int, dice: random.Random) -> set[int]:
        """Steps that may have left the disk as it was: of each directory or file the last ones since its sync."""
        waiting: dict[int, list[int]] = {}
        lost = set()
        for number, step in enumerate(self._steps[: place + 1]):
            if step.syncs is not None and number < place:
                waiting.pop(step.syncs, None)
            elif step.needs is not None:
                waiting.setdefault(step.needs, []).append(number)
            elif step.is_write and number == place:
                lost.add(number)
        for numbers in waiting.values():
            lost.update(numbers[dice.randrange(len(numbers) + 1) :])
        return lost

    def forget(self) -> None:
        """Lets go of what an undo would have needed."""
        while self._descriptors:
            os.close(self._descriptors.pop())
        shutil.rmtree(self._before, ignore_errors=True)
        self._steps = []

    # Calls ---------------------------------------------------------------------------------------------------------

    def _noting(self, call: Callable[..., Any], note: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **options: Any) -> Any:
            return call(*args, **options) if self._is_removing else note(call, *args, **options)

        return noted

    def _note(self, what: str, path: Path, undo: Undo, *, needs: int | None, is_write: bool = False) -> None:
        self._steps.append(Step(f"{what} {self._shown(path)}", needs, None, undo, is_write))

    def _is_ours(self, path: Any, options: Any) -> bool:
        return options.get("dir_fd") is None and Path(path).is_relative_to(self._root)

    def _shown(self, path: Path) -> str:
        return _NUMBERS.sub("N", str(path.relative_to(self._root)))

    def _mkdir(self, call: Callable[..., Any], path: Any, *args: Any, **options: Any) -> None:
        call(path, *args, **options)
        if self._is_ours(path, options):
            self._note("make", Path(path), lambda _dice: _removed(Path(path)), needs=_directory_of(path))

    def _open(self, call: Callable[..., Any], path: Any, flags: int, *args: Any, **options: Any) -> int:
        is_new = bool(flags & os.O_CREAT) and self._is_ours(path, options) and not Path(path).exists()
        fd: int = call(path, flags, *args, **options)
        if is_new:
            self._note("create", Path(path), lambda _dice: _unlinked(Path(path)), needs=_directory_of(path))
        return fd

    def _pwrite(self, call: Callable[..., Any], fd: int, data: bytes | memoryview, at: int) -> int:
        path, data = _path_of(fd), bytes(data)
        if not path.is_relative_to(self._root):
            return int(call(fd, data, at))
        old = os.pread(fd, len(data), at).ljust(len(data), b"\0")
        written = int(call(fd, data, at))
        needs = None if fcntl.fcntl(fd, fcntl.F_GETFL) & _SYNCED_WRITES == _SYNCED_WRITES else os.fstat(fd).st_ino
        what = "begin" if path in self._named else "write"
        self._note(what, path, self._unwritten(os.dup(fd), old, data, at), needs=needs, is_write=True)
        return written

    def _fsync(self, call: Callable[..., Any], fd: int) -> None:
        call(fd)
        path, status = _path_of(fd), os.fstat(fd)
        if path.is_relative_to(self._root):
            if stat.S_ISREG(status.st_mode):
                self._synced[status.st_ino] = path.read_bytes()
            self._steps.append(Step(f"sync {self._shown(path)}", None, status.st_ino, lambda _dice: True, False))

    def _rename(self, call: Callable[..., Any], source: Any, target: Any, **options: Any) -> None:
        source, target = Path(source), Path(target)
        if not self._is_ours(target, options):
            call(source, target, **options)
            return
        self._note_unsynced_bytes(source)
        self._named.add(target)
        replaced = self._saved(target) if target.exists() else None
        call(source, target, **options)

        def renamed_back(_dice: random.Random | None) -> bool:
            target.rename(source)
            if replaced is not None:
                replaced.rename(target)
            return False

        self._note("name", target, renamed_back, needs=_directory_of(target))

    _replace = _rename

    def _note_unsynced_bytes(self, file: Path) -> None:
        """Written by LMDB, some time ago."""
        inode, new = file.stat().st_ino, file.read_bytes()
        old = self._synced.get(inode, b"").ljust(len(new), b"\0")
        if old != new:
            undo = self._unwritten(os.open(file, os.O_RDWR), old, new, 0)
            self._note("write", file, undo, needs=inode, is_write=True)

    def _unlink(self, call: Callable[..., Any], path: Any, **options: Any) -> None:
        if not self._is_ours(path, options) or not Path(path).exists():
            call(path, **options)
            return
        saved = self._saved(Path(path))
        call(path, **options)

        def there_again(_dice: random.Random | None) -> bool:
            saved.rename(path)
            return False

        self._note("remove", Path(path), there_again, needs=_directory_of(path))

    def _rmtree(self, call: Callable[..., Any], path: Any, **options: Any) -> None:
        """One step, in any part of which the power may fail."""
        if not self._is_ours(path, options) or not Path(path).is_dir():
            call(path, **options)
            return
        saved = [(file, self._saved(file)) for file in sorted(Path(path).iterdir())]
        self._is_removing = True
        try:
            call(path, **options)
        finally:
            self._is_removing = False

        def there_again(dice: random.Random | None) -> bool:
            Path(path).mkdir(mode=0o700)
            for file, other_name in saved:
                if dice is None or dice.random() < 0.5:
                    other_name.rename(file)
            return False

        self._note("remove", Path(path), there_again, needs=_directory_of(path))

    def _saved(self, file: Path) -> Path:
        """Another name, under which the file stays when it loses its own."""
        self._before.mkdir(exist_ok=True)
        other_name = self._before / str(len(list(self._before.iterdir())))
        os.link(file, other_name)
        return other_name

    def _unwritten(self, fd: int, old: bytes, new: bytes, at: int) -> Undo:
        """fd: to be closed in the end."""
        self._descriptors.append(fd)

        def unwritten(dice: random.Random | None) -> bool:
            held = old if dice is None else scattered(old, new, dice, at)
            os.pwrite(fd, held, at)
            return held == new

        return unwritten


_CALLS: Final = (
    (os, "mkdir"),
    (os, "open"),
    (os, "pwrite"),
    (os, "fsync"),
    (os, "rename"),
    (os, "replace"),
    (os, "unlink"),
    (shutil, "rmtree"),
)


def scattered(old: bytes, new: bytes, dice: random.Random, at: int = 0) -> bytes:
    """Any sectors of the new bytes over the old ones: none, some or all. at: where in the file they begin."""
    share = dice.choice((0.0, 0.5, 1.0))
    ends = [*range(SECTOR_BYTES - at % SECTOR_BYTES, len(new), SECTOR_BYTES), len(new)]
    return b"".join(
        (new if dice.random() < share else old)[begin:end] for begin, end in zip([0, *ends], ends, strict=False)
    )


def _removed(path: Path) -> bool:
    shutil.rmtree(path, ignore_errors=True)
    return False


def _unlinked(path: Path) -> bool:
    path.unlink(missing_ok=True)
    return False


def _directory_of(path: Any) -> int:
    return Path(path).parent.stat().st_ino


def _path_of(fd: int) -> Path:
    return Path(f"/proc/self/fd/{fd}").readlink()
