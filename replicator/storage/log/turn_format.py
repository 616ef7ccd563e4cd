"""How the log looks in a file: a head, then turns; a turn is a head and records. Bytes in, values out; no files.

    segment:  magic, format, log id, number, mark (16 random bytes), what the log held before, checksum; 512 bytes
    turn:     mark of the segment, number, link (checksum of the turn before), bytes, checksum of the records' heads,
              checksum of this head
    record:   kind, bytes, index, term, checksum over these and the payload; then the payload

A turn is written by one call and holds all or nothing. Turns are numbered and linked, so none can be left out, and the
mark says that a turn was written to this file and is no leftover of another one. Numbers are big endian.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from replicator.model.errors import CorruptData
from replicator.model.ids import LogIndex, NodeId, Term
from replicator.model.log import Entry, HardState, TurnWrite

SEGMENT_HEAD_BYTES: Final = 512
LOG_ID_BYTES: Final = 8
MARK_BYTES: Final = 16
SEGMENT_FORMAT: Final = 1
_MAGIC: Final = b"rplc.log"
_SEGMENT: Final = Struct(f">8sI{LOG_ID_BYTES}sQ{MARK_BYTES}sQIQQH")
_TURN: Final = Struct(f">{MARK_BYTES}sQIII")
_RECORD: Final = Struct(">BIQQ")
_CHECKSUM: Final = Struct(">I")
_STATE: Final = Struct(">QQ?")

TURN_HEAD_BYTES: Final = _TURN.size + _CHECKSUM.size
RECORD_HEAD_BYTES: Final = _RECORD.size + _CHECKSUM.size
_UNLOCKED_BYTES: Final = 4096  # zlib lets go of the interpreter's lock beyond 5 KiB, and waits to get it back

INITIAL_HARD_STATE: Final = HardState(Term(0), None, LogIndex(0))


class Kind(IntEnum):
    """Of a record. Truncation and compaction carry only an index."""

    ENTRY = 1
    HARD_STATE = 2
    TRUNCATE_FROM = 3
    COMPACT_TO = 4


class Record(NamedTuple):
    """One record, sound. at: where its payload begins in the segment."""

    kind: Kind
    index: LogIndex  # type: ignore[assignment]  # hides tuple.index, which nothing here wants
    term: Term
    at: int
    payload: bytes
    checksum: int


@dataclass(frozen=True, slots=True)
class SegmentHead:
    """What a segment says of itself, and of the log before it: last turn, its checksum, hard state, first and last."""

    log_id: bytes
    number: int
    mark: bytes
    turn_number: int
    link: int
    hard_state: HardState
    first_index: LogIndex
    last_index: LogIndex

    def pack(self) -> bytes:
        state = pack_hard_state(self.hard_state)
        fields = _SEGMENT.pack(
            _MAGIC, SEGMENT_FORMAT, self.log_id, self.number, self.mark, self.turn_number, self.link,
            self.first_index, self.last_index, len(state),
        ) + state  # fmt: skip
        head = fields + _CHECKSUM.pack(crc32(fields))
        assert len(head) <= SEGMENT_HEAD_BYTES
        return head.ljust(SEGMENT_HEAD_BYTES, b"\0")

    @classmethod
    def unpack(cls, data: bytes) -> "SegmentHead":
        """Raises CorruptData."""
        if len(data) < SEGMENT_HEAD_BYTES or data[: len(_MAGIC)] != _MAGIC:
            raise CorruptData("no segment of a log")
        _, form, log_id, number, mark, turn_number, link, first, last, state_bytes = _SEGMENT.unpack_from(data)
        end = _SEGMENT.size + state_bytes
        if end + _CHECKSUM.size > SEGMENT_HEAD_BYTES or _CHECKSUM.unpack_from(data, end)[0] != crc32(data[:end]):
            raise CorruptData("its head does not match its checksum")
        if form != SEGMENT_FORMAT:
            raise CorruptData(f"has format {form}, this release reads {SEGMENT_FORMAT}")
        state = unpack_hard_state(data[_SEGMENT.size : end])
        return cls(log_id, number, mark, turn_number, link, state, LogIndex(first), LogIndex(last))


@dataclass(frozen=True, slots=True)
class TurnHead:
    """Before the records of a turn. link: checksum of the turn before."""

    number: int
    link: int
    records_bytes: int
    heads_checksum: int
    checksum: int


def pack_turn(mark: bytes, number: int, link: int, records: bytes, heads: bytes) -> tuple[bytes, int]:
    """The turn, and its checksum, to which the next one links. heads: those of the records, in their order."""
    fields = _TURN.pack(mark, number, link, len(records), checksum_of(heads))
    checksum = crc32(fields)
    return b"".join((fields, _CHECKSUM.pack(checksum), records)), checksum


def unpack_turn_head(data: bytes, at: int, mark: bytes) -> TurnHead | None:
    """None if no head of a turn of this segment is there."""
    if at + TURN_HEAD_BYTES > len(data):
        return None
    found, number, link, records_bytes, heads_checksum = _TURN.unpack_from(data, at)
    checksum: int = _CHECKSUM.unpack_from(data, at + _TURN.size)[0]
    if found != mark or checksum != crc32(data[at : at + _TURN.size]):
        return None
    return TurnHead(number, link, records_bytes, heads_checksum, checksum)


def pack_records(write: TurnWrite, compact_to: LogIndex | None) -> tuple[bytes, bytes, list[tuple[int, int]]]:
    """Records and their heads; of each entry, where its payload begins in the records, and its checksum."""
    parts: list[bytes] = []
    heads: list[bytes] = []
    places: list[tuple[int, int]] = []
    size = 0
    for kind, index, term, payload in _what_to_record(write, compact_to):
        fields = _RECORD.pack(kind, len(payload), index, term)
        checksum = checksum_of(payload, crc32(fields))
        head = fields + _CHECKSUM.pack(checksum)
        heads.append(head)
        parts += (head, payload)
        size += len(head)
        if kind is Kind.ENTRY:
            places.append((size, checksum))
        size += len(payload)
    return b"".join(parts), b"".join(heads), places


def _what_to_record(write: TurnWrite, compact_to: LogIndex | None) -> Iterator[tuple[Kind, LogIndex, Term, bytes]]:
    """In the order in which it takes effect."""
    if write.truncate_from is not None:
        yield Kind.TRUNCATE_FROM, write.truncate_from, Term(0), b""
    for entry in write.append:
        yield Kind.ENTRY, entry.index, entry.term, entry.payload
    if write.hard_state is not None:
        yield Kind.HARD_STATE, LogIndex(0), Term(0), pack_hard_state(write.hard_state)
    if compact_to is not None:
        yield Kind.COMPACT_TO, compact_to, Term(0), b""


def unpack_records(data: bytes, at: int, head: TurnHead) -> Sequence[Record]:
    """The records of the turn that begins at `at`. Raises CorruptData unless all of them are sound."""
    place, end = at + TURN_HEAD_BYTES, at + TURN_HEAD_BYTES + head.records_bytes
    if end > len(data):
        raise CorruptData(f"turn {head.number} ends beyond the file")
    records: list[Record] = []
    heads: list[bytes] = []
    while place < end:
        if place + RECORD_HEAD_BYTES > end:
            raise CorruptData(f"turn {head.number} ends within a record")
        kind, size, index, term = _RECORD.unpack_from(data, place)
        checksum: int = _CHECKSUM.unpack_from(data, place + _RECORD.size)[0]
        begin = place + RECORD_HEAD_BYTES
        payload = data[begin : begin + size]
        if begin + size > end or kind not in _KINDS or record_checksum(kind, index, term, payload) != checksum:
            raise CorruptData(f"turn {head.number}: the record at {place} does not match its checksum")
        heads.append(data[place:begin])
        records.append(Record(Kind(kind), LogIndex(index), Term(term), begin, payload, checksum))
        place = begin + size
    if checksum_of(b"".join(heads)) != head.heads_checksum:
        raise CorruptData(f"turn {head.number} does not match its checksum")
    return records


_KINDS: Final = frozenset(Kind)


def record_checksum(kind: int, index: int, term: int, payload: bytes) -> int:
    """Over its place too, so that a misplaced record is found."""
    return checksum_of(payload, crc32(_RECORD.pack(kind, len(payload), index, term)))


def entry_of(payload: bytes, index: LogIndex, term: Term, checksum: int) -> Entry:
    """Raises CorruptData if that is not what was written."""
    if record_checksum(Kind.ENTRY, index, term, payload) != checksum:
        raise CorruptData(f"log: entry {index} does not match its checksum")
    return Entry(payload, index, term)


def checksum_of(data: bytes, seed: int = 0) -> int:
    """crc32, without letting go of the interpreter's lock: beside a busy loop, that costs milliseconds each time."""
    if len(data) <= _UNLOCKED_BYTES:
        return crc32(data, seed)
    view = memoryview(data)
    for at in range(0, len(data), _UNLOCKED_BYTES):
        seed = crc32(view[at : at + _UNLOCKED_BYTES], seed)
    return seed


def pack_hard_state(state: HardState) -> bytes:
    vote = b"" if state.voted_for is None else state.voted_for.encode()
    return _STATE.pack(state.term, state.commit_index, state.voted_for is not None) + vote


def unpack_hard_state(data: bytes) -> HardState:
    """Raises CorruptData."""
    if len(data) < _STATE.size:
        raise CorruptData(f"hard state: {len(data)} bytes, fewer than its fields")
    term, commit_index, has_vote = _STATE.unpack_from(data)
    try:
        vote = NodeId(data[_STATE.size :].decode()) if has_vote else None
    except UnicodeDecodeError:
        raise CorruptData("hard state: the vote is no text") from None
    return HardState(Term(term), vote, LogIndex(commit_index))
