"""A process of its own whose disk is full from its n-th write on, for each n, under full_disk_shim.c.

Run as `python -m tests.support.full_disk_process DIRECTORY`, with FULL_SHIM_FROM and FULL_SHIM_MET. Prints one line of
JSON: by call and kind of file, how often it met the end of the disk there, and how that ended.
"""

import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from replicator.model.errors import StorageFailed
from replicator.model.log import TurnWrite
from replicator.storage import DiskFull
from tests.support.commands import an_entry, put
from tests.support.storage_process import BIG_VALUE, next_turn, opened, say

TURNS = 9  # of half a megabyte each: the log needs new files for them, and the state more room than it has reserved
CONTROL, MET = Path(os.environ.get("FULL_SHIM_FROM", "")), Path(os.environ.get("FULL_SHIM_MET", ""))


class Life:
    """One directory, whose disk is full from the n-th call on, once."""

    def __init__(self, directory: Path, full_from: int) -> None:
        self.directory, self.storage = directory, opened(directory)
        self.ended = "never full"
        self.acknowledged = 0
        MET.unlink(missing_ok=True)
        CONTROL.write_text(str(full_from))

    def run(self) -> None:
        """Logs, applies and flushes; each goes on where it was refused."""
        for _ in range(TURNS):
            write = next_turn(self.storage, BIG_VALUE)
            turn = TurnWrite(
                append=write.append, hard_state=write.hard_state, compact_to=self.storage.stored_index() or None
            )
            self.until_it_works(lambda turn=turn: self.storage.commit(turn))  # type: ignore[misc]
            self.acknowledged = write.append[-1].index
            self.storage.apply(write.append)
            self.until_it_works(self.flush)
        CONTROL.unlink(missing_ok=True)
        self.check()

    def until_it_works(self, step: Callable[[], object]) -> None:
        """Refused with DiskFull while there is no room, and then it goes on by itself."""
        before, durable = self.storage.applied_position, self.storage.position
        try:
            step()
        except DiskFull:
            assert (self.storage.applied_position, self.storage.position) == (before, durable)
            self.still_refused(step)
            assert self.readable()
            CONTROL.unlink()
            step()
            self.ended = "went on"
        except StorageFailed as failure:
            if "start again" not in str(failure):
                raise
            CONTROL.unlink()
            self.storage.close()
            self.storage, self.ended = opened(self.directory), "started again"
            again = self.storage.load_log().last_index
            assert again >= self.acknowledged
            if again == self.acknowledged:
                step()

    def flush(self) -> None:
        """Of the storage that is open then."""
        self.storage.flush()

    def still_refused(self, step: Callable[[], object]) -> None:
        for _ in range(2):
            try:
                step()
            except DiskFull:
                continue
            raise AssertionError("the disk is full, and the write succeeded")

    def readable(self) -> bool:
        found = self.storage.get(b"shared")[0]
        return (found is None) == (self.storage.applied_position.applied_index == 0)

    def check(self) -> None:
        """All that was written is there, once, also after a restart; and the same as without a full disk."""
        held, hashed = self.storage.applied_position, self.storage.state_hash()
        assert (held.applied_index, held.revision) == (TURNS, 3 * TURNS)
        self.storage.close()
        again = opened(self.directory)
        assert (again.applied_position, again.state_hash()) == (held, hashed)
        last = an_entry(TURNS + 1, put(b"last"), time_ms=TURNS + 1)
        again.commit(TurnWrite(append=(last,)))
        again.close()
        shutil.rmtree(self.directory)


def kind_of(met: str, directory: Path) -> str:
    call, path, how = met.split()
    name = re.sub(r"\b([0-9a-f]{16}|[0-9]{12})\b", "N", str(Path(path).relative_to(directory)))
    return f"{call} {name} {how}"


def main(place: Path) -> None:
    met: Counter[str] = Counter()
    full_from = 0
    while True:
        full_from += 1
        life = Life(place / str(full_from), full_from)
        life.run()
        if not MET.exists():
            break
        met[f"{kind_of(MET.read_text(), life.directory)}: {life.ended}"] += 1
    say(met)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
