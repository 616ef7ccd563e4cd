"""Every format that was ever shipped is read, as tests/data_directories/ holds it."""

import shutil
from pathlib import Path

import pytest

from replicator.model.errors import Compacted
from replicator.model.ids import LogIndex, Revision, Term
from replicator.model.log import HardState, TurnWrite
from replicator.model.transactions import Delete, Get, If, Put, Range, Transaction
from replicator.storage import Storage
from tests import data_directories
from tests.data_directories import record
from tests.support.commands import an_entry, by, transact

RECORDED = sorted(Path(data_directories.__file__).parent.glob("format_*"))


@pytest.fixture(params=RECORDED, ids=lambda folder: folder.name)
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A copy, as a node would open it."""
    (tmp_path / "data").mkdir(mode=0o700)
    shutil.copy(request.param / "data.mdb", tmp_path / "data")
    (tmp_path / "data" / "data.mdb").chmod(0o600)
    shutil.copytree(request.param / "log", tmp_path / "data" / "log")
    for path in (tmp_path / "data" / "log").rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)  # a checkout has the modes of the user's umask
    return Storage.open(
        tmp_path / "data", cluster_id=record.CLUSTER, node_id=record.NODE, size_max_bytes=record.SIZE_MAX_BYTES
    )


def test_the_present_format_is_recorded() -> None:
    assert record.FOLDER in RECORDED


def test_a_recorded_directory_opens_with_all_that_it_held(held: Storage) -> None:
    assert (held.position.applied_index, held.position.revision, held.position.live_keys) == (record.APPLIED, 9, 4)
    assert held.hard_state() == HardState(Term(1), record.NODE, LogIndex(record.APPLIED))
    assert held.read_entries(LogIndex(1), count_max=9, bytes_max=1 << 20) == list(record.LOG)
    assert (held.membership(), held.timing()) == (record.MEMBERSHIP, record.TIMING)
    expected = {b"a": b"6", b"zero\x00": b"2", record.LONG_KEY: b"8", b"batch/1": b"1"}
    page = held.scan(b"", b"", keys_max=100, bytes_max=1 << 20)
    assert {kv.key: kv.value for kv in page.kvs} == expected
    assert [kv.key for kv in page.kvs] == sorted(expected)
    past = held.scan(b"", b"", at_revision=Revision(5), keys_max=100, bytes_max=1 << 20)
    assert {kv.key: kv.value for kv in past.kvs} == {
        b"a": b"5", b"zero\x00": b"2", record.LONG_KEY: b"3", b"gone": b"4"
    }  # fmt: skip
    with pytest.raises(Compacted):
        held.scan(b"", b"", at_revision=Revision(4), keys_max=100, bytes_max=1 << 20)
    held.close()


def test_a_recorded_directory_is_written_on(held: Storage) -> None:
    """The log's last entry is applied, a client gets its remembered outcome, with the value that it found then."""
    held.commit(TurnWrite(hard_state=HardState(Term(1), record.NODE, LogIndex(6))))
    held.apply(record.LOG[record.APPLIED :])
    again = an_entry(7, record.REMEMBERED)
    [[outcome]] = held.commit(
        TurnWrite(append=(again,), hard_state=HardState(Term(1), record.NODE, LogIndex(7)), apply=(again,))
    )
    assert (outcome.duplicate, outcome.index, list(outcome.revisions)) == (True, 4, [8, 8])
    assert [(found.position, found.value) for found in outcome.found] == [(1, b"6")]
    found = held.get(b"later")[0]
    assert found is not None
    assert found.value == b"9"
    asked = Transaction(
        [If.value(b"a") == b"6"], [Put(b"new", b"1"), Delete(Range(b"z", b"zz")), Get(Range(b""), limit=2)]
    )
    command = an_entry(8, transact(asked, by(7, 3, oldest_pending=1)))
    [[outcome]] = held.commit(
        TurnWrite(append=(command,), hard_state=HardState(Term(1), record.NODE, LogIndex(8)), apply=(command,))
    )
    assert (list(outcome.revisions), outcome.transactions[0].result.succeeded) == ([11], True)
    assert [done.count for done in outcome.transactions[0].result.results] == [0, 1, 2]
    held.close()
