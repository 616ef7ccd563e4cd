"""Reads all segments of a log: what it holds, a tail that a crash has torn, or where it is damaged.

A turn is written only after the one before it is durable. So what does not check out at the end of the last segment is
a turn that was never durable, and is cut; anywhere else, and also if a later turn follows, it is damage. (The last turn
of all cannot be told from a torn one. `RaftLog.close` adds an empty turn, so that this is true of a crash only.)
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from replicator.model.errors import CorruptData
from replicator.storage.log.contents import Contents
from replicator.storage.log.segment import PART_SUFFIX, SEGMENT_SUFFIX
from replicator.storage.log.turn_format import (
    SEGMENT_HEAD_BYTES,
    TURN_HEAD_BYTES,
    SegmentHead,
    unpack_records,
    unpack_turn_head,
)

_NAME: Final = re.compile(rf"\d{{12}}{re.escape(SEGMENT_SUFFIX)}")


@dataclass(slots=True)
class Scan:
    """Contents after the turns seen so far. turn_number, link: of the last one. torn_end: of what is to be cut."""

    contents: Contents
    turn_number: int = 0
    link: int = 0
    torn_end: int = 0

    @classmethod
    def begin(cls, head: SegmentHead) -> "Scan":
        """Before the first segment that is still there."""
        return cls(Contents(head.hard_state, head.first_index, head.last_index), head.turn_number, head.link)

    def take_segment(self, path: Path, head: SegmentHead, data: bytes, *, is_last: bool) -> int:
        """Where its turns end. Raises CorruptData, after all turns before the damage."""
        self._check_follows(path, head)
        at = SEGMENT_HEAD_BYTES
        while True:
            turn = unpack_turn_head(data, at, head.mark)
            if turn is None:
                problem = "no turn begins there"
                break
            if (turn.number, turn.link) != (self.turn_number + 1, self.link):
                raise CorruptData(f"{path}: turn {turn.number} at {at} does not follow turn {self.turn_number}")
            try:
                records = unpack_records(data, at, turn)
            except CorruptData as damage:
                problem = str(damage)
                break
            for record in records:
                self.contents.take(record, head.number)
            self.turn_number, self.link = turn.number, turn.checksum
            at += TURN_HEAD_BYTES + turn.records_bytes
        if is_last:
            later = _later_turn(data, at + 1, head.mark, self.turn_number + 1)
            if later is not None:
                raise CorruptData(
                    f"{path}: turn {self.turn_number + 1} at {at} is damaged ({problem}), {later} is there"
                )
            self.torn_end = max(at, len(data.rstrip(b"\0")))
        return at

    def _check_follows(self, path: Path, head: SegmentHead) -> None:
        held = self.contents
        before = (self.turn_number, self.link, held.hard_state, held.first_index, held.last_index)
        if (head.turn_number, head.link, head.hard_state, head.first_index, head.last_index) != before:
            raise CorruptData(f"{path}: follows turn {head.turn_number}, the segment before ends with {before[0]}")

    def check_complete(self) -> None:
        """Raises CorruptData if entries that should be held have no place."""
        held = self.contents
        held.forget_compacted()
        if not held.is_empty and held.first_placed > held.first_index:
            raise CorruptData(f"log: entry {held.first_index} is missing before {held.first_placed}")


def segment_files(folder: Path) -> Sequence[Path]:
    """In their order. Raises CorruptData if none is there, or one is missing."""
    names = sorted(path.name for path in folder.iterdir() if _NAME.fullmatch(path.name)) if folder.is_dir() else []
    if not names:
        raise CorruptData(f"{folder}: no log is there")
    first = int(names[0].removesuffix(SEGMENT_SUFFIX))
    for number, name in enumerate(names, start=first):
        if int(name.removesuffix(SEGMENT_SUFFIX)) != number:
            raise CorruptData(f"{folder}: segment {number} is missing before {name}")
    return [folder / name for name in names]


def remove_parts(folder: Path) -> None:
    """Segments that were never completed."""
    for part in folder.glob("*" + PART_SUFFIX):
        part.unlink(missing_ok=True)


def _later_turn(data: bytes, start: int, mark: bytes, than: int) -> str | None:
    """A turn after the one that does not check out: it proves that that one was durable."""
    at = data.find(mark, start)
    while at >= 0:
        turn = unpack_turn_head(data, at, mark)
        if turn is not None and turn.number > than:
            return f"turn {turn.number} at {at}"
        at = data.find(mark, at + 1)
    return None
