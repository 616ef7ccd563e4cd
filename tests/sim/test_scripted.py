"""Scenarios that are compared with real processes can see: the record of their callers gives planted bugs away."""

import tempfile
from pathlib import Path

import pytest

from chaos.checkers import check_all
from chaos.checkers.violation import Breach
from replicator.config.timing import RaftTiming
from tests.support import planted_bugs
from tests.support.agreement.scenarios import SCENARIOS
from tests.support.agreement.simulated import SimulatedStage
from tests.support.planted_bugs import Bug

TIMING = RaftTiming(heartbeat_s=0.1, election_timeout_min_s=0.8, election_timeout_max_s=1.6)
LIVES = 10


@pytest.mark.parametrize(
    ("bug", "scenario", "breach"),
    [
        (planted_bugs.serves_reads_without_asking_a_quorum, "cut-leader-off", Breach.STALE),
        (planted_bugs.commits_with_a_minority, "cut-leader-off", Breach.CAUSAL),
    ],
)
def test_the_record_alone_shows_a_planted_bug(bug: Bug, scenario: str, breach: Breach) -> None:
    """Without the help of a judge that sees all nodes at once: real runs have none."""
    [played] = [row for row in SCENARIOS if row.name == scenario]
    with bug():
        for life in range(LIVES):
            with tempfile.TemporaryDirectory() as directory:
                stage = SimulatedStage(life, TIMING, Path(directory), judged=False)
                stage.play(played, 30)
                if breach in {violation.breach for violation in check_all(stage.history)}:
                    return
    pytest.fail(f"not seen in {LIVES} lives")
