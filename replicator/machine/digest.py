"""Three fingerprints: of the way (rolling, at every index), of the state (keyed, on request), of one batch.

All hash explicit fields with explicit lengths. Serialized protobuf is never hashed, since its bytes may differ between
releases; the log payload is the exception, because every node holds the leader's very bytes.
"""

from array import array
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from struct import Struct
from sys import byteorder
from typing import Final

from replicator.machine.transaction_fields import result_fields, transaction_fields
from replicator.model.log import Entry
from replicator.v1 import store_pb2

ROLLING_HASH_BYTES: Final = 16
STATE_HASH_BYTES: Final = 16
BATCH_DIGEST_BYTES: Final = 16
GENESIS_HASH: Final = bytes(ROLLING_HASH_BYTES)  # before the first entry

_ENTRY: Final = Struct(">QQI")  # index, term, payload bytes
_OUTCOME: Final = Struct(">QIIIIB")  # index, statuses, revisions, found, rejections, reason bytes
_FOUND: Final = Struct(">IQQQ?I")  # position, create, mod revision, version, omitted, value bytes
_REJECTION: Final = Struct(">IB")  # position, reason bytes
_TRANSACTED: Final = Struct(">I")  # position; the fields of the result follow
_PAIR: Final = Struct(">HIQQQ")  # key bytes, value bytes, create revision, mod revision, version

# key, value, create revision, mod revision, version
Pair = tuple[bytes, bytes, int, int, int]


def rolling_hash(previous: bytes, entry: Entry, outcomes: Sequence[store_pb2.BatchOutcome]) -> bytes:
    """Fingerprint after `entry`. Equal on two nodes at one index only if all entries and outcomes so far were equal."""
    digest = blake2b(previous, digest_size=ROLLING_HASH_BYTES)
    digest.update(_ENTRY.pack(entry.index, entry.term, len(entry.payload)))
    digest.update(entry.payload)
    for outcome in outcomes:
        digest.update(_outcome_columns(outcome))
    return digest.digest()


def _outcome_columns(outcome: store_pb2.BatchOutcome) -> bytes:
    statuses, revisions, reason = bytes(outcome.statuses), outcome.revisions, outcome.reason.encode()
    counts = (len(statuses), len(revisions), len(outcome.found), len(outcome.rejections), len(reason))
    parts = [_OUTCOME.pack(outcome.index, *counts), reason, statuses, _big_endian(array("Q", revisions))]
    for found in outcome.found:
        numbers = (found.create_revision, found.mod_revision, found.version)
        parts += (_FOUND.pack(found.position, *numbers, found.value_omitted, len(found.value)), found.value)
    for rejection in outcome.rejections:
        text = rejection.reason.encode()
        parts += (_REJECTION.pack(rejection.position, len(text)), text)
    for transacted in outcome.transactions:  # none in what was written before there were any
        parts.append(_TRANSACTED.pack(transacted.position))
        parts += result_fields(transacted.result)
    return b"".join(parts)


def batch_digest(batch: store_pb2.CommandBatch) -> bytes:
    """What a batch asks for, independent of its client and sequences, and of who serialized its transactions."""
    kinds, keys, values, revisions = batch.kinds, batch.keys, batch.values, batch.expected_revisions
    columns = array("Q", (len(kinds), len(keys), len(values), len(revisions)))
    columns.extend(kind & 0xFFFF_FFFF for kind in kinds)  # of a release that this one is not, it may be negative
    columns.extend(map(len, keys))
    columns.extend(map(len, values))
    columns.extend(revisions)
    parts = [_big_endian(columns), *keys, *values]
    for data in batch.transactions:
        parts += transaction_fields(data)
    return blake2b(b"".join(parts), digest_size=BATCH_DIGEST_BYTES).digest()


def state_hash(pairs: Iterable[Pair]) -> str:
    """Fingerprint of all live pairs, given in key order, as hex. Cost: reads every value."""
    digest = blake2b(digest_size=STATE_HASH_BYTES)
    for key, value, create_revision, mod_revision, version in pairs:
        digest.update(_PAIR.pack(len(key), len(value), create_revision, mod_revision, version))
        digest.update(key)
        digest.update(value)
    return digest.hexdigest()


def _big_endian(numbers: "array[int]") -> bytes:
    """8 bytes each, on any machine. `numbers` is used up."""
    if byteorder == "little":
        numbers.byteswap()
    return numbers.tobytes()
