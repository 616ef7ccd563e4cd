"""A power failure on real files: the log comes back whole up to a turn, the state as of a flush, never ahead of it."""

import random
from pathlib import Path

import pytest

from chaos.simulation import power
from replicator.machine.codec import encode_entry
from replicator.model.errors import DataDirectoryError, StorageFailed
from replicator.model.ids import ClusterId, LogIndex, NodeId, Term
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.storage.log import raft_log
from replicator.storage.storage import Storage
from replicator.v1 import store_pb2
from tests.support import planted_durability

SIZES = (1, 300, 9000, 60_000)  # of values; large ones take pages and sectors of their own


def opened(directory: Path) -> Storage:
    return Storage.open(directory, cluster_id=ClusterId("c"), node_id=NodeId("n"), size_max_bytes=1 << 30)


def turn(index: int, dice: random.Random, compact_to: int = 0) -> TurnWrite:
    """One entry of a put, appended and committed."""
    put = store_pb2.CommandBatch(keys=[b"k%d" % dice.randrange(40)], values=[dice.randbytes(dice.choice(SIZES))])
    entry = Entry(encode_entry(index, [put.SerializeToString()]), LogIndex(index), Term(1))
    return TurnWrite(
        append=(entry,),
        hard_state=HardState(Term(1), None, LogIndex(index)),
        compact_to=LogIndex(compact_to) if compact_to else None,
    )


def go_on(storage: Storage, dice: random.Random) -> None:
    """A few turns, applied in memory; now and then the state follows, and old entries go."""
    for _ in range(dice.randrange(4)):
        index = storage.load_log().last_index + 1
        kept = storage.stored_index() if dice.random() < 0.3 else 0
        write = turn(index, dice, kept)
        storage.commit(write)
        storage.apply(write.append)
        if dice.random() < 0.3:
            storage.flush()


@pytest.mark.parametrize("fail", [power.interrupted, power.unsynced])
def test_a_turn_that_power_or_disk_interrupts_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail: object
) -> None:
    """Over many commits, flushes and segments, and many ways to be torn; everything that was durable stays."""
    assert callable(fail)
    monkeypatch.setattr(raft_log, "SEGMENT_BYTES_MIN", 64 << 10)
    monkeypatch.setattr(raft_log, "SEGMENT_BYTES_MAX", 128 << 10)
    seed = 5
    dice, ends, flushes = random.Random(seed), {True: 0, False: 0}, 0
    storage, index = opened(tmp_path), 0
    for _ in range(80):
        go_on(storage, dice)
        index = storage.load_log().last_index
        left = fail(storage, turn(index + 1, dice), dice)
        ends[left.turn] += 1
        power.lose_reader_table(storage, dice)

        storage = opened(tmp_path)
        index += left.turn
        flushes += storage.position.applied_index < index
        assert storage.position == left.position, f"seed {seed}"
        assert storage.load_log().last_index == storage.hard_state().commit_index == index
        assert storage.applied_position.applied_index == index, "the log replays what the state lacks"
        first = storage.load_log().first_index
        held = storage.read_entries(first, count_max=9999, bytes_max=1 << 30) if index else []
        assert [entry.index for entry in held] == list(range(first, index + 1) if index else ())
        assert first <= storage.position.applied_index + 1
        storage.state_hash()
    assert min(ends.values()) >= 5, ends
    assert flushes >= 5, "the state was behind"
    storage.close()


def test_a_log_that_goes_before_the_state_is_stored_is_seen(tmp_path: Path) -> None:
    """A planted bug: the same course ends with a directory that lacks entries, and says so."""
    with (
        planted_durability.lets_the_log_go_before_the_state_is_stored(),
        pytest.raises(DataDirectoryError, match="before the first entry"),
    ):
        lose_power_again_and_again(tmp_path, random.Random(5))


def lose_power_again_and_again(directory: Path, dice: random.Random) -> None:
    for _ in range(80):
        storage = opened(directory)
        go_on(storage, dice)
        power.interrupted(storage, turn(storage.load_log().last_index + 1, dice), dice)


def test_a_node_whose_sync_failed_takes_no_more_writes(tmp_path: Path) -> None:
    storage, dice = opened(tmp_path), random.Random(1)
    power.break_disk(storage)

    for _ in range(2):
        with pytest.raises(StorageFailed):
            storage.commit(turn(1, dice))
    storage.close()


def test_a_node_whose_flush_failed_takes_no_more_writes(tmp_path: Path) -> None:
    storage, dice = opened(tmp_path), random.Random(1)
    write = turn(1, dice)
    storage.commit(write)
    storage.apply(write.append)
    power.break_disk(storage)
    with pytest.raises(StorageFailed):
        storage.flush()
    with pytest.raises(StorageFailed):
        storage.commit(turn(2, dice))
    storage.close()
    again = opened(tmp_path)
    assert again.applied_position.applied_index == 1
    again.close()


def test_shipped_storage_syncs_what_it_commits(tmp_path: Path) -> None:
    """What `lose_power` asks before it believes that a commit is durable."""
    storage = opened(tmp_path)
    assert power.is_synced(storage)
    storage.close()
