"""Writes the data directory of the present format: `python -m tests.data_directories.record`.

A little of everything: keys short and long, overwritten and deleted, sessions, a compaction, a membership, timers, and
a log whose last entry is not applied.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

import lmdb

from replicator.machine.group_entries import encode_membership, encode_timing
from replicator.model.ids import ClusterId, LogIndex, NodeId, Region, Term
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.model.members import Member, Membership
from replicator.storage import Storage
from replicator.storage.layout import DATABASE_COUNT, FORMAT_VERSION
from replicator.v1 import store_pb2
from tests.support.commands import an_entry, by, compact, delete, put, swap, together

CLUSTER, NODE = ClusterId("recorded"), NodeId("n1")
SIZE_MAX_BYTES: Final = 1 << 30
FOLDER: Final = Path(__file__).parent / f"format_{FORMAT_VERSION}"
LONG_KEY: Final = b"long/" + b"k" * 1000

MEMBER: Final = Member(NODE, Region("eu"), "127.0.0.1:1", "127.0.0.1:2", directory_id=bytes(range(16)))
MEMBERSHIP: Final = Membership(LogIndex(1), (MEMBER,), bytes(range(16)), bytes(range(32)))
TIMING: Final = store_pb2.Timing(heartbeat_ms=100, election_timeout_min_ms=1000, election_timeout_max_ms=2000)
REMEMBERED: Final = together(put(b"batch/1", b"1"), swap(b"a", b"lost", 99), write_id=by(7, 1))
LOG: Final = (
    Entry(encode_membership(MEMBERSHIP), LogIndex(1), Term(1)),
    Entry(encode_timing(TIMING), LogIndex(2), Term(1)),
    an_entry(3, put(b"a", b"1"), put(b"zero\x00", b"2"), put(LONG_KEY, b"3"), put(b"gone", b"4"), time_ms=1000),
    an_entry(4, put(b"a", b"5"), delete(b"gone"), put(b"a", b"6"), REMEMBERED, time_ms=2000),
    an_entry(5, compact(5), put(LONG_KEY, b"8"), time_ms=3000),
    an_entry(6, put(b"later", b"9"), time_ms=4000),
)
APPLIED: Final = 5


def record(folder: Path) -> None:
    """Leaves data file and log in `folder`, as small as can be: LMDB compacts, and reserved bytes are cut off."""
    with tempfile.TemporaryDirectory() as place:
        storage = Storage.open(
            Path(place),
            cluster_id=CLUSTER,
            node_id=NODE,
            size_max_bytes=SIZE_MAX_BYTES,
            new_directory_id=lambda: bytes(range(16)),
        )
        storage.commit(TurnWrite(append=LOG, hard_state=HardState(Term(1), NODE, LogIndex(APPLIED))))
        storage.apply(LOG[:APPLIED])
        storage.flush()
        storage.close()
        folder.mkdir(exist_ok=True)
        fd = os.open(folder / "data.mdb", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with lmdb.open(place, max_dbs=DATABASE_COUNT, map_size=SIZE_MAX_BYTES) as env:
            env.copyfd(fd, compact=True)
        os.close(fd)
        shutil.rmtree(folder / "log", ignore_errors=True)
        shutil.copytree(Path(place) / "log", folder / "log")
        for segment in (folder / "log").glob("*/*"):
            segment.write_bytes(segment.read_bytes().rstrip(b"\0"))


if __name__ == "__main__":
    record(FOLDER)
