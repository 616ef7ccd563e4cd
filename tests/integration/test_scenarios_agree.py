"""The same scenarios on real processes and in the simulation: the same promises hold, and they take the same course."""

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.checkers import check_all
from chaos.history import History, Result
from replicator.config.timing import RaftTiming
from tests.support.agreement import processes
from tests.support.agreement.scenarios import SCENARIOS, Scenario
from tests.support.agreement.simulated import SimulatedStage

TIMING = RaftTiming(heartbeat_s=0.1, election_timeout_min_s=0.8, election_timeout_max_s=1.6)
LEAD_IN_WRITES = (20, 120)
LIVES = int(os.environ.get("AGREE_LIVES", "1"))  # simulated, of each scenario: with other disks, distances and loads
SEED = int(os.environ.get("AGREE_SEED", "1"))  # `make drill` draws others


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A real file system without a disk to wait for, where the machine has one."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="replicator-agree-", dir=memory if memory.is_dir() else None) as directory:
        yield Path(directory)


def assert_kept(history: History) -> None:
    """Every promise to callers, and each was put to the test."""
    assert check_all(history) == []
    assert len(history.copies) >= 3
    assert len(history.writes(Result.OK)) >= 60
    for linearizable in (True, False):
        assert sum(1 for read in history.reads() if read.linearizable is linearizable) >= 20


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_on_real_processes(tmp_path: Path, scenario: Scenario) -> None:
    print(f"AGREE_SEED={SEED}")  # noqa: T201  # a failing run can be repeated with its choices
    dice = random.Random(f"{SEED}/{scenario.name}")
    async with processes.set_up(tmp_path, TIMING, SEED) as stage:
        await stage.more_writes(dice.randint(*LEAD_IN_WRITES))
        course = await scenario.play(stage)
        history = await stage.recover()
        assert_kept(history)
        assert course == scenario.expected, stage.logs()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_in_the_simulation(memory_path: Path, scenario: Scenario) -> None:
    """Judged by the record of its callers, as the real run is, and by the world, which sees every turn."""
    print(f"AGREE_SEED={SEED}")  # noqa: T201
    dice = random.Random(f"{SEED}/{scenario.name}")
    for life in range(LIVES):
        stage = SimulatedStage(SEED + life, TIMING, memory_path / str(life))
        verdict = stage.play(scenario, dice.randint(*LEAD_IN_WRITES))
        assert verdict.violation == "", f"life {life}"
        assert_kept(stage.history)
        assert stage.course == scenario.expected, f"life {life}"
