"""Power fails at each step of an installation, and of a commit that begins a new file of the log: old or new, whole."""

import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from chaos.simulation import power
from chaos.simulation.steps import END, Steps
from chaos.simulation.world import Scenario, World
from replicator.model.errors import DataDirectoryError, StorageFailed
from replicator.model.ids import LogIndex, NodeId, Term
from replicator.model.log import HardState, TurnWrite
from replicator.storage import Storage
from replicator.storage.log import raft_log
from tests.support import planted_durability
from tests.support.storage_process import BIG_VALUE, next_turn, opened
from tests.support.stores import a_past, follow, prepared_from

PAST = a_past(40, puts=10)
LIVES = 4  # of each step, with dice of their own
VOTED = HardState(Term(5), NodeId("voted"), LogIndex(5))
TAIL = tuple(entry._replace(term=Term(4)) for entry in PAST[5:9])  # not committed, and not what the snapshot holds


@pytest.fixture
def place() -> Iterator[Path]:
    """As the simulation has it: a real file system, without waiting for a disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Data at index 40, to be copied, and the hash of their state."""
    root = tmp_path_factory.mktemp("prepared")
    storage = opened(root / "data")
    follow(storage, PAST)
    folder, _, state_hash = prepared_from(storage, root)
    storage.close()
    return folder, state_hash


def behind(directory: Path, prepared: tuple[Path, str]) -> tuple[Storage, Path]:
    """A node with five entries applied and four more logged, and what it is to install."""
    storage = opened(directory)
    follow(storage, PAST[:5])
    storage.commit(TurnWrite(append=TAIL, hard_state=VOTED))
    incoming = directory / "incoming" / "data"
    shutil.rmtree(incoming, ignore_errors=True)
    shutil.copytree(prepared[0], incoming)
    return storage, incoming


def steps_of(storage: Storage, work: Callable[[], object]) -> list[str]:
    steps = Steps(storage.path)
    with steps.noted():
        work()
    names = steps.names
    steps.forget()
    storage.close()
    return names


def install_again_and_again(place: Path, prepared: tuple[Path, str], dice: random.Random) -> dict[str, set[bool]]:
    """By step: whether the new data were there."""
    storage, incoming = behind(place / "first", prepared)
    names = steps_of(storage, lambda: storage.install(incoming))
    ends: dict[str, set[bool]] = {}
    for number in range(len(names) + 1):
        for life in range(LIVES):
            storage, incoming = behind(place / f"{number}-{life}", prepared)
            left = power.interrupted_install(storage, incoming, dice, number)
            power.lose_reader_table(storage, dice)
            assert left.step == [*names, END][number]
            check_is_old_or_new(storage.path, prepared, is_new=left.is_done)
            ends.setdefault(f"{number} {left.step}", set()).add(left.is_done)
            shutil.rmtree(storage.path)
    return ends


def check_is_old_or_new(directory: Path, prepared: tuple[Path, str], *, is_new: bool) -> None:
    """It opens, is all of one or all of the other, knows its vote, and goes on."""
    storage = opened(directory)
    bounds, state = storage.load_log(), storage.hard_state()
    if is_new:
        assert state == HardState(VOTED.term, VOTED.voted_for, LogIndex(40))
        assert (bounds.first_index, bounds.last_index) == (40, 40)
        assert storage.state_hash() == (prepared[1], 40)
    else:
        assert state == VOTED
        held = storage.read_entries(LogIndex(1), count_max=100, bytes_max=1 << 20)
        assert tuple(held) == (*PAST[:5], *TAIL)
        storage.flush()
        assert storage.position.applied_index == 5
        storage.commit(TurnWrite(truncate_from=LogIndex(6)))
    more = next_turn(storage)
    storage.commit(TurnWrite(append=tuple(entry._replace(term=Term(5)) for entry in more.append)))
    assert len(list((directory / "log").iterdir())) == 1, "no other log is left"
    storage.close()
    opened(directory).close()


def test_power_that_fails_at_any_step_of_an_install_leaves_the_old_data_and_log_or_the_new(
    prepared: tuple[Path, str], place: Path
) -> None:
    """Before the data file has its name it is the old ones, after the directory is synced the new."""
    seed = random.SystemRandom().randrange(1 << 32)
    sys.stdout.write(f"seed {seed}\n")
    ends = install_again_and_again(place, prepared, random.Random(seed))

    steps = [name.split(" ", 1)[1] for name in ends]
    for step in ("sync incoming/data/data.mdb", "make log/N", "begin log/N/N.segment", "name data.mdb", "sync .",
                 "remove log/N", END):  # fmt: skip
        assert step in steps
    named, synced = steps.index("name data.mdb"), steps.index("sync .")
    outcomes = list(ends.values())
    assert outcomes[:named] == [{False}] * named
    assert outcomes[synced + 1 :] == [{True}] * (len(outcomes) - synced - 1)


@pytest.mark.parametrize(
    ("bug", "seen_as"),
    [
        (planted_durability.removes_the_old_log_before_the_new_data_are_named, "no log is there"),
        (planted_durability.never_syncs_directories, "no log is there"),
        (planted_durability.installs_what_it_has_not_synced, "damaged|is_new|assert"),
    ],
)
def test_an_install_that_does_things_out_of_order_is_seen(
    prepared: tuple[Path, str], place: Path, bug: Callable[[], AbstractContextManager[None]], seen_as: str
) -> None:
    with bug(), pytest.raises((DataDirectoryError, StorageFailed, AssertionError), match=seen_as):
        install_again_and_again(place, prepared, random.Random(3))


# A new file of the log ----------------------------------------------------------------------------------------------


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raft_log, "SEGMENT_BYTES_MIN", 64 << 10)
    monkeypatch.setattr(raft_log, "SEGMENT_BYTES_MAX", 64 << 10)


def almost_full(directory: Path) -> Storage:
    """The next turn begins a third file of the log; the first one is of no use once the log is compacted."""
    storage = opened(directory)
    while storage.applied_position.applied_index < 12:
        storage.commit(next_turn(storage, BIG_VALUE[: 4 << 10]))
    assert len(list(directory.glob("log/*/*"))) == 2
    storage.flush()
    return storage


def roll_over_again_and_again(place: Path, dice: random.Random) -> dict[str, set[bool]]:
    """By step: whether the turn was there."""
    storage = almost_full(place / "first")
    held = storage.applied_position.applied_index
    names = steps_of(storage, lambda: storage.commit(turn_of(storage)))
    ends: dict[str, set[bool]] = {}
    for number in range(len(names) + 1):
        for life in range(LIVES):
            storage = almost_full(place / f"{number}-{life}")
            left = power.interrupted(storage, turn_of(storage), dice, number)
            assert left.step == [*names, END][number]
            again = opened(storage.path)
            assert again.load_log().last_index == again.applied_position.applied_index == held + left.turn
            assert again.load_log().first_index == (held if left.turn else 1)
            again.commit(next_turn(again))
            again.commit(next_turn(again, BIG_VALUE))
            again.close()
            opened(storage.path).close()
            ends.setdefault(f"{number} {left.step}", set()).add(left.turn)
            shutil.rmtree(storage.path)
    return ends


def turn_of(storage: Storage) -> TurnWrite:
    """Compacts, too."""
    write = next_turn(storage, BIG_VALUE[: 20 << 10])
    return TurnWrite(
        append=write.append, hard_state=write.hard_state, compact_to=storage.applied_position.applied_index
    )


def test_power_that_fails_at_any_step_of_a_new_file_of_the_log_leaves_the_turn_or_nothing(
    place: Path, small_files: None
) -> None:
    """Also between the making of the file and the first turn in it; and old files are removed only after that."""
    seed = random.SystemRandom().randrange(1 << 32)
    sys.stdout.write(f"seed {seed}\n")
    ends = roll_over_again_and_again(place, random.Random(seed))

    steps = [name.split(" ", 1)[1] for name in ends]
    assert steps == [
        "create log/N/N.segment.part", "write log/N/N.segment.part", "sync log/N/N.segment.part",
        "name log/N/N.segment", "sync log/N", "begin log/N/N.segment", "remove log/N/N.segment", "sync log/N", END,
    ]  # fmt: skip
    begun, outcomes = steps.index("begin log/N/N.segment"), list(ends.values())
    assert outcomes[:begun] == [{False}] * begun
    assert outcomes[begun + 1 :] == [{True}] * (len(outcomes) - begun - 1)


def test_a_new_file_of_the_log_whose_name_is_not_synced_is_seen(place: Path, small_files: None) -> None:
    with planted_durability.never_syncs_directories(), pytest.raises((AssertionError, DataDirectoryError)):
        roll_over_again_and_again(place, random.Random(3))


# Seeds --------------------------------------------------------------------------------------------------------------


def test_seeds_cut_the_power_within_installs_and_new_files_of_the_log(place: Path) -> None:
    """Of the mix that is made for it; none of them breaks a promise."""
    cuts = {"install": 0, "new file": 0}
    for seed in range(100, 140):
        if min(cuts.values()) >= 3:
            break
        life = World(seed, Scenario(mix="disks"), place / str(seed))
        assert life.run().violation == "", f"seed {seed}"
        for step, count in life.cuts.items():
            if step.startswith("install"):
                cuts["install"] += count
            elif step not in (f"commit: {END}", "commit: write log/N/N.segment"):
                cuts["new file"] += count
    assert min(cuts.values()) >= 3, cuts
