"""The records of the state, field by field: what is known of a key, a change, a session, the outcome of a batch."""

from struct import Struct
from struct import error as struct_error
from typing import Final, NamedTuple
from zlib import crc32

from replicator.machine.store_port import KeptResult, Record, Session
from replicator.model.errors import CorruptData

_NUMBER: Final = Struct(">QI")  # revision: main, sub
_RECORD: Final = Struct(">QIQQQBI")  # main, sub, create revision, version, lease, flags, value bytes
_CHECKSUM: Final = Struct(">I")  # over the change's revision and all that follows
# create revision, version, lease, log time, flags, revision of the change that it superseded (main, sub), key bytes
_CHANGE: Final = Struct(">QQQQBQIH")
_CHANGE_BYTES_MIN: Final = _CHECKSUM.size + _CHANGE.size
_SESSION: Final = Struct(">QQQII")  # floor, next sequence, last used ms, results, bytes kept
_IDLE_KEY: Final = Struct(">Q16s")  # last used ms, client id
_RESULT_KEY: Final = Struct(">16sQ")  # client id, first sequence
_RESULT: Final = Struct(">I16s")  # commands, digest of the batch; its outcome follows

NUMBER_BYTES: Final = _NUMBER.size
RESULT_KEY_BYTES: Final = _RESULT_KEY.size
# What `superseded` says of a change. A deletion may be compacted while a write that supersedes it is under way, so that
# its change is gone; readers need it no more.
VALUE: Final = b""
DELETION: Final = b"\x01"
pack_revision: Final = _NUMBER.pack
pack_record: Final = _RECORD.pack
pack_idle_key: Final = _IDLE_KEY.pack
pack_result_key: Final = _RESULT_KEY.pack
pack_change_head: Final = _CHANGE.pack
pack_checksum: Final = _CHECKSUM.pack


class Change(NamedTuple):
    """One change of one key. superseded: revision (main, sub) of the key's change before it, (0, 0) if none is held."""

    create_revision: int
    version: int
    lease: int
    time_ms: int
    flags: int
    superseded: tuple[int, int]
    key: bytes
    value: bytes


def unpack_revision(number: bytes) -> tuple[int, int]:
    """(main, sub). Raises CorruptData."""
    if len(number) != NUMBER_BYTES:
        raise CorruptData(f"a revision of {len(number)} bytes, must be {NUMBER_BYTES}")
    main, sub = _NUMBER.unpack(number)
    return main, sub


def unpack_record(data: bytes) -> Record:
    """Raises CorruptData."""
    try:
        record: Record = _RECORD.unpack(data)
    except struct_error as error:
        raise CorruptData(f"index: a record of {len(data)} bytes, must be {_RECORD.size}") from error
    return record


def unpack_change(number: bytes, data: bytes | None) -> Change:
    """The change of a packed revision. Raises CorruptData, naming the revision, if it is not what was stored."""
    if data is None:
        raise CorruptData(f"revision {_named(number)} is named by its key and has no change")
    if len(data) < _CHANGE_BYTES_MIN or _CHECKSUM.unpack_from(data)[0] != crc32(data[_CHECKSUM.size :], crc32(number)):
        raise CorruptData(f"the change of revision {_named(number)} does not match its checksum")
    create, version, lease, time_ms, flags, main, sub, key_bytes = _CHANGE.unpack_from(data, _CHECKSUM.size)
    value_at = _CHANGE_BYTES_MIN + key_bytes
    return Change(
        create, version, lease, time_ms, flags, (main, sub), data[_CHANGE_BYTES_MIN:value_at], data[value_at:]
    )


def _named(number: bytes) -> str:
    main, sub = unpack_revision(number)
    return f"{main}.{sub}" if sub else f"{main}"


def pack_session(session: Session) -> bytes:
    return _SESSION.pack(*session)


def unpack_session(data: bytes) -> Session:
    """Raises CorruptData."""
    try:
        return Session._make(_SESSION.unpack(data))
    except struct_error as error:
        raise CorruptData(f"a session of {len(data)} bytes, must be {_SESSION.size}") from error


def unpack_idle_key(data: bytes) -> tuple[int, bytes]:
    """(last_used_ms, client_id). Raises CorruptData."""
    if len(data) != _IDLE_KEY.size:
        raise CorruptData(f"an idle mark of {len(data)} bytes, must be {_IDLE_KEY.size}")
    last_used_ms, client_id = _IDLE_KEY.unpack(data)
    return last_used_ms, client_id


def first_sequence_of(result_key: bytes) -> int:
    """Of the batch that a key of `results` is of. Raises CorruptData."""
    if len(result_key) != RESULT_KEY_BYTES:
        raise CorruptData(f"a key of a result of {len(result_key)} bytes, must be {RESULT_KEY_BYTES}")
    first_sequence: int = _RESULT_KEY.unpack(result_key)[1]
    return first_sequence


def pack_result(kept: KeptResult) -> bytes:
    return _RESULT.pack(kept.commands, kept.digest) + kept.outcome


def unpack_result(data: bytes) -> KeptResult:
    """Raises CorruptData."""
    if len(data) < _RESULT.size:
        raise CorruptData(f"a result of {len(data)} bytes, fewer than its head")
    commands, digest = _RESULT.unpack_from(data)
    return KeptResult(commands, digest, data[_RESULT.size :])
