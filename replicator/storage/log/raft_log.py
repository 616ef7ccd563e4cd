"""The Raft log and hard state, in preallocated files: one write that syncs makes a turn durable, whole.

Written by one thread at a time, read by any. Old segments are deleted whole; each begins with all that is known before
it (hard state, first and last index), so none of the older ones is needed.
"""

import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from replicator.model.errors import CorruptData, StorageFailed
from replicator.model.ids import LogIndex, Term
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.storage.data_directory import locking as directory
from replicator.storage.data_directory import trust
from replicator.storage.log.contents import Contents, Place
from replicator.storage.log.scanning import Scan, remove_parts, segment_files
from replicator.storage.log.segment import SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, STEP_BYTES, Segment
from replicator.storage.log.turn_format import (
    INITIAL_HARD_STATE,
    LOG_ID_BYTES,
    MARK_BYTES,
    SEGMENT_HEAD_BYTES,
    TURN_HEAD_BYTES,
    Kind,
    SegmentHead,
    entry_of,
    pack_records,
    pack_turn,
    record_checksum,
)

LOG_DIR: Final = "log"  # under the data directory; in it a folder for each log, named by its id: one is in use


@dataclass(frozen=True, slots=True)
class LogBounds:
    """First and last entry held; all 0 if the log is empty."""

    first_index: LogIndex
    last_index: LogIndex
    last_term: Term


def new_log_id() -> bytes:
    """LOG_ID_BYTES that no other log has."""
    return os.urandom(LOG_ID_BYTES)


def log_folder(data_dir: Path, log_id: bytes) -> Path:
    return data_dir / LOG_DIR / log_id.hex()


class RaftLog:
    """One log, open. `write` from one thread at a time.

    damage: what was found wrong as the log was opened to be read only; what comes before that is held.
    """

    def __init__(self, folder: Path, scan: Scan, segments: list[Segment]) -> None:
        self._folder, self._contents, self._segments = folder, scan.contents, segments
        self._turn_number, self._link = scan.turn_number, scan.link
        self._guard = threading.Lock()  # of contents and segments, against readers; never held during a write
        self.damage: str | None = None

    @classmethod
    def create(cls, data_dir: Path, log_id: bytes, state: HardState, head: Entry | None = None) -> "RaftLog":
        """A new one, durable, that begins with `head`. It is in use once the data file names its id.

        Raises DiskFull, StorageFailed, OSError.
        """
        folder = log_folder(data_dir, log_id)
        if not folder.parent.is_dir():
            directory.make_directory(folder.parent)
        directory.make_directory(folder)
        remove_parts(folder)
        first = LogIndex(1) if head is None else head.index
        contents = Contents(INITIAL_HARD_STATE, first, LogIndex(first - 1))
        log = cls(folder, Scan(contents), [])
        try:
            log._add_segment(log_id, 0)
            log.write(TurnWrite(append=() if head is None else (head,), hard_state=state))
        except BaseException:
            log.close()
            raise
        return log

    @classmethod
    def open(cls, data_dir: Path, log_id: bytes, *, writable: bool = True) -> "RaftLog":
        """Reads all of it. Raises CorruptData if it is damaged, DataDirectoryError if it may not be used, OSError.

        writable: else nothing is changed, and a damaged one is opened too, up to its damage.
        """
        folder = log_folder(data_dir, log_id)
        segments: list[Segment] = []
        try:
            scan, damage = _load(folder, log_id, segments, writable=writable)
            log = cls(folder, scan, segments)
            if writable:
                if damage is not None:
                    raise damage
                remove_parts(folder)
                segments[-1].blank(scan.torn_end)
        except BaseException:
            _close_all(segments)
            raise
        log.damage = None if damage is None else str(damage)
        return log

    # Reads, from any thread ----------------------------------------------------------------------------------------

    def hard_state(self) -> HardState:
        """As of the last turn."""
        return self._contents.hard_state

    def bounds(self) -> LogBounds:
        with self._guard:
            held = self._contents
            if held.is_empty:
                return LogBounds(LogIndex(0), LogIndex(0), Term(0))
            return LogBounds(held.first_index, held.last_index, held.places[-1].term)

    def first_index(self) -> LogIndex:
        """That the log has, or will have, if it is empty."""
        return self._contents.first_index

    def last_index(self) -> LogIndex:
        """0 if the log is empty."""
        return self.bounds().last_index

    def size_bytes(self) -> int:
        """Of the entries that are held."""
        return self._contents.size_bytes

    def term_at(self, index: LogIndex) -> Term | None:
        """None if the entry is not held. Reads no file."""
        with self._guard:
            place = self._contents.place_of(index)
        return None if place is None else place.term

    def holds(self, entry: Entry) -> bool:
        """Exactly this one. Reads no file."""
        with self._guard:
            place = self._contents.place_of(entry.index)
        checksum = record_checksum(Kind.ENTRY, entry.index, entry.term, entry.payload)
        return place is not None and (place.term, place.checksum) == (entry.term, checksum)

    def entry_at(self, index: LogIndex) -> Entry | None:
        """None if it is not held. Raises CorruptData if it is damaged."""
        with self._guard:
            place = self._contents.place_of(index)
            return None if place is None else self._read(index, place)

    def read(self, first: LogIndex, *, count_max: int, bytes_max: int) -> list[Entry]:
        """Entries from `first` on: at most count_max, ending with the one that reaches bytes_max of payload.

        None if `first` is not held: beyond the end, or compacted away.
        """
        assert count_max >= 1
        entries: list[Entry] = []
        payload_bytes = 0
        while len(entries) < count_max and (not entries or payload_bytes < bytes_max):
            entry = self.entry_at(LogIndex(first + len(entries)))
            if entry is None:
                break
            entries.append(entry)
            payload_bytes += len(entry.payload)
        return entries

    def _read(self, index: LogIndex, place: Place) -> Entry:
        if not self._segments:
            raise StorageFailed(f"{self._folder}: is closed")
        segment = self._segments[place.segment - self._segments[0].number]
        return entry_of(segment.read(place.at, place.size_bytes), index, place.term, place.checksum)

    # Writes --------------------------------------------------------------------------------------------------------

    def write(self, write: TurnWrite, compact_to: LogIndex | None = None) -> None:
        """Makes truncation, entries, hard state and compaction of one turn durable, all or nothing.

        They must make sense: checks.py. Raises DiskFull: nothing was changed; StorageFailed: never write again.
        """
        if not self._segments:
            raise StorageFailed(f"{self._folder}: is closed")
        records, heads, places = pack_records(write, compact_to)
        size_bytes = TURN_HEAD_BYTES + len(records)
        segment = self._segments[-1]
        if not segment.has_room(size_bytes):
            segment = self._add_segment(segment.head.log_id, size_bytes)
        turn, link = pack_turn(segment.head.mark, self._turn_number + 1, self._link, records, heads)
        begin = segment.end + TURN_HEAD_BYTES
        segment.append(turn)
        with self._guard:
            self._turn_number, self._link = self._turn_number + 1, link
            held = self._contents
            if write.truncate_from is not None:
                held.truncate_from(write.truncate_from)
            for entry, (at, checksum) in zip(write.append, places, strict=True):
                held.append(Place(segment.number, begin + at, len(entry.payload), entry.term, checksum))
            if write.hard_state is not None:
                held.hard_state = write.hard_state
            if compact_to is not None:
                held.first_index = max(held.first_index, compact_to)
                held.forget_compacted()
        if compact_to is not None:
            self._drop_segments()

    def _add_segment(self, log_id: bytes, size_min_bytes: int) -> Segment:
        """Raises DiskFull: nothing was changed."""
        held, last = self._contents, self._segments[-1] if self._segments else None
        head = SegmentHead(
            log_id, 1 if last is None else last.number + 1, os.urandom(MARK_BYTES), self._turn_number, self._link,
            held.hard_state, held.first_index, held.last_index,
        )  # fmt: skip
        needed = -(-(SEGMENT_HEAD_BYTES + size_min_bytes) // STEP_BYTES) * STEP_BYTES
        wanted = SEGMENT_BYTES_MIN if last is None else min(2 * last.size_bytes, SEGMENT_BYTES_MAX)
        segment = Segment.create(self._folder, head, max(wanted, needed), size_min_bytes=needed)
        with self._guard:
            self._segments.append(segment)
        return segment

    def _drop_segments(self) -> None:
        """Deletes those before the first entry that is held, oldest first, so that none is missing between others."""
        while True:
            with self._guard:
                held = self._contents
                first_needed = self._segments[-1].number if held.is_empty else held.places[0].segment
                if self._segments[0].number >= first_needed:
                    return
                dropped = self._segments.pop(0)
                dropped.close()
            try:
                dropped.path.unlink()
                directory.sync_directory(self._folder)
            except OSError as error:
                raise StorageFailed(f"deleting {dropped.path}: {error}") from error

    def close(self, *, sealed: bool = False) -> None:
        """Lets go of the files. Closing twice is fine. sealed: with one more turn: so all others are surely whole."""
        with self._guard:
            segments, self._segments = self._segments, []
        try:
            if sealed and segments and segments[-1].has_room(TURN_HEAD_BYTES):
                segments[-1].append(pack_turn(segments[-1].head.mark, self._turn_number + 1, self._link, b"", b"")[0])
        finally:
            _close_all(segments)


def remove_other_logs(data_dir: Path, log_id: bytes) -> None:
    """Logs that are not in use: what a crash left of a change from one to another."""
    folder = data_dir / LOG_DIR
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name != log_id.hex():
            shutil.rmtree(path, ignore_errors=True)


def _load(folder: Path, log_id: bytes, segments: list[Segment], *, writable: bool) -> tuple[Scan, CorruptData | None]:
    """Adds to `segments` as they are read, up to the first damage, which is returned too."""
    scan = Scan(Contents())
    for path in (folder.parent, folder):
        trust.check_if_there(path)
    try:
        paths = segment_files(folder)
        folder_fd = trust.open_directory(folder)
        try:
            for path in paths:
                segment, data = Segment.open(folder_fd, path, writable=writable)
                if segment.head.log_id != log_id:
                    segment.close()
                    raise CorruptData(f"{path}: belongs to the log {segment.head.log_id.hex()}")
                scan = scan if segments else Scan.begin(segment.head)
                segments.append(segment)
                segment.end = scan.take_segment(path, segment.head, data, is_last=path is paths[-1])
        finally:
            os.close(folder_fd)
        scan.check_complete()
    except CorruptData as damage:
        return scan, damage
    return scan, None


def _close_all(segments: list[Segment]) -> None:
    for segment in segments:
        segment.close()
