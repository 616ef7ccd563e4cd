"""Three fingerprints: of the way (rolling, at every index), of the state (keyed, on request), of one operation.

All hash explicit fields with explicit lengths. Serialized protobuf is never hashed, since its bytes may differ between
releases; the log payload is the exception, because every node holds the leader's very bytes.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from struct import Struct
from typing import Final

from replicator.model.log import Entry
from replicator.v1 import store_pb2

ROLLING_HASH_BYTES: Final = 16
STATE_HASH_BYTES: Final = 16
OPERATION_DIGEST_BYTES: Final = 16
GENESIS_HASH: Final = bytes(ROLLING_HASH_BYTES)  # before the first entry

_ENTRY: Final = Struct(">QQI")  # index, term, payload bytes
_OUTCOME: Final = Struct(">BQB")  # status, revision, reason bytes
_OPERATION: Final = Struct(">BIIQ")  # kind, key bytes, value bytes, expected revision
_KIND_OF: Final = {None: 0, "put": 1, "delete": 2, "compare_and_set": 3}  # None: of a release that this one is not
_PAIR: Final = Struct(">HIQQQ")  # key bytes, value bytes, create revision, mod revision, version

# key, value, create revision, mod revision, version
Pair = tuple[bytes, bytes, int, int, int]


def rolling_hash(previous: bytes, entry: Entry, outcomes: Sequence[store_pb2.Outcome]) -> bytes:
    """Fingerprint after `entry`. Equal on two nodes at one index only if all entries and outcomes so far were equal."""
    parts = [previous, _ENTRY.pack(entry.index, entry.term, len(entry.payload)), entry.payload]
    for outcome in outcomes:
        reason = outcome.reason.encode()
        parts.append(_OUTCOME.pack(outcome.status, outcome.revision, len(reason)))
        parts.append(reason)
    return blake2b(b"".join(parts), digest_size=ROLLING_HASH_BYTES).digest()


def operation_digest(command: store_pb2.Command) -> bytes:
    """What a write asks for, independent of its client and write id."""
    kind = command.WhichOneof("operation")
    key, value, expected_revision = b"", b"", 0
    match kind:
        case "put":
            key, value = command.put.key, command.put.value
        case "delete":
            key = command.delete.key
        case "compare_and_set":
            swap = command.compare_and_set
            key, value, expected_revision = swap.key, swap.value, swap.expected_revision
    digest = blake2b(digest_size=OPERATION_DIGEST_BYTES)
    digest.update(_OPERATION.pack(_KIND_OF[kind], len(key), len(value), expected_revision))
    digest.update(key)
    digest.update(value)
    return digest.digest()


def state_hash(pairs: Iterable[Pair]) -> str:
    """Fingerprint of all live pairs, given in key order, as hex. Cost: reads every value."""
    digest = blake2b(digest_size=STATE_HASH_BYTES)
    for key, value, create_revision, mod_revision, version in pairs:
        digest.update(_PAIR.pack(len(key), len(value), create_revision, mod_revision, version))
        digest.update(key)
        digest.update(value)
    return digest.hexdigest()
