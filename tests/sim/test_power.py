"""A power failure during a commit, made on a real data file: LMDB comes back with the state before it or after it."""

import random
from pathlib import Path

import pytest

from chaos.simulation import power
from replicator.machine.codec import encode_batch
from replicator.model.errors import StorageFailed
from replicator.model.ids import ClusterId, LogIndex, NodeId, Term
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.storage.storage import Storage
from replicator.v1 import store_pb2


def opened(directory: Path) -> Storage:
    return Storage.open(directory, cluster_id=ClusterId("c"), node_id=NodeId("n"), size_max_bytes=1 << 30)


def turn(index: int, dice: random.Random) -> TurnWrite:
    """One entry of a put, appended and applied; large ones take pages of their own."""
    value = dice.randbytes(dice.choice((1, 300, 9000)))
    put = store_pb2.Command(put=store_pb2.PutOperation(key=b"k%d" % dice.randrange(40), value=value))
    entry = Entry(encode_batch(index, [put.SerializeToString()]), LogIndex(index), Term(1))
    return TurnWrite(None, (entry,), HardState(Term(1), None, LogIndex(index)), (entry,), None)


@pytest.mark.parametrize("fail", [power.interrupted, power.unsynced])
def test_a_commit_that_power_or_disk_interrupts_is_there_whole_or_not_at_all(tmp_path: Path, fail: object) -> None:
    """Over many commits and many ways to be torn; both ends are seen, and everything that was durable stays."""
    assert callable(fail)
    seed = 5
    dice, index, ends = random.Random(seed), 0, {True: 0, False: 0}
    storage = opened(tmp_path)
    for _ in range(60):
        for _ in range(dice.randrange(4)):
            index += 1
            storage.commit(turn(index, dice))
        before = storage.position
        position = fail(storage, turn(index + 1, dice), dice)
        ends[position is not None] += 1
        power.lose_reader_table(storage, dice)

        storage = opened(tmp_path)
        index += position is not None
        assert storage.position == (position or before), f"seed {seed}"
        assert storage.load_log().last_index == index
        assert [entry.index for entry in storage.read_entries(LogIndex(1), count_max=999, bytes_max=1 << 30)] == [
            *range(1, index + 1)
        ][:999]
        storage.state_hash()
    assert min(ends.values()) >= 5, ends
    storage.close()


def test_a_node_whose_sync_failed_takes_no_more_writes(tmp_path: Path) -> None:
    storage, dice = opened(tmp_path), random.Random(1)
    power.break_disk(storage)

    for _ in range(2):
        with pytest.raises(StorageFailed):
            storage.commit(turn(1, dice))
    storage.close()


def test_shipped_storage_syncs_what_it_commits(tmp_path: Path) -> None:
    """What `lose_power` asks before it believes that a commit is durable."""
    storage = opened(tmp_path)
    assert power.is_synced(storage)
    storage.close()
