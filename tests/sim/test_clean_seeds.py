"""The shipped engine, state machine and storage under simulated faults: no promise is broken."""

import os
import subprocess
import sys

import pytest

from chaos.simulation.character import MIXES
from chaos.simulation.world import Scenario, Verdict, simulate

# A few of each kind, beside the hundreds of `make simulate`.
CLUSTERS = [(3, "wan", 3), (5, "wan", 1), (7, "wan", 1), (3, "lan", 2), (5, "lan", 1), (1, "lan", 2), (2, "wan", 2)]


def broken(scenario: Scenario, seeds: range) -> list[Verdict]:
    return [verdict for seed in seeds if (verdict := simulate(seed, scenario)).violation]


@pytest.mark.parametrize(("nodes", "profile", "seeds"), CLUSTERS)
def test_no_promise_is_broken_under_faults(nodes: int, profile: str, seeds: int) -> None:
    """Those of chaos/simulation/promises/, while faults rage and after they have ended."""
    replay = f"python -m chaos simulate --seeds SEED --nodes {nodes} --profile {profile}"
    assert broken(Scenario(nodes=nodes, profile=profile), range(seeds)) == [], f"replay: {replay}"


@pytest.mark.parametrize(("nodes", "profile", "seeds"), [(3, "wan", 2), (3, "lan", 1), (5, "wan", 1)])
def test_no_promise_needs_an_order_between_rafts_frames_and_those_of_callers(
    nodes: int, profile: str, seeds: int
) -> None:
    """On a link that is full, they overtake each other (transport/links/send_queue.py)."""
    replay = f"python -m chaos simulate --seeds SEED --nodes {nodes} --profile {profile} --lanes 2"
    scenario = Scenario(nodes=nodes, profile=profile, lanes=2)
    assert broken(scenario, range(200, 200 + seeds)) == [], f"replay: {replay}"


@pytest.mark.parametrize("mix", MIXES)
def test_no_promise_is_broken_by_faults_of_one_kind(mix: str) -> None:
    assert broken(Scenario(mix=mix), range(100, 101)) == []


def test_one_seed_is_one_run() -> None:
    """Two runs of a seed agree in everything that every node applied, and when."""
    first, second = simulate(7, Scenario()), simulate(7, Scenario())

    assert first == second
    assert first.acknowledged > 0
    assert first.trace != simulate(8, Scenario()).trace


def test_one_seed_is_one_run_in_every_process() -> None:
    """Whatever Python's own dice for hashes say."""
    program = (
        "from chaos.simulation.world import Scenario, simulate\n"
        "print(simulate(7, Scenario(nodes=5, profile='lan')).trace, simulate(3, Scenario(engine='stock')).trace)"
    )
    traces = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": hash_seed}, check=True,
            capture_output=True, text=True,
        ).stdout
        for hash_seed in ("1", "2")
    }  # fmt: skip

    assert len(traces) == 1, traces


def test_seeds_differ_in_character() -> None:
    """A bug hides where faults of one kind crowd together."""
    assert len({simulate(seed, Scenario(faulty_s=0.1)).mix for seed in range(12)}) >= 4
