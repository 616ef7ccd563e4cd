"""`python -m chaos simulate`: what it prints, and how it ends."""

import json
import shlex

import pytest
from click.testing import CliRunner, Result

from chaos.simulation.command import STOCK_SEEDS, simulate_command


def run(*arguments: str) -> Result:
    return CliRunner().invoke(simulate_command, list(arguments))


def test_a_matrix_of_seeds_that_hold_ends_with_a_summary() -> None:
    """Seeds are dealt over the combinations."""
    result = run("--seeds", "0:4", "--nodes", "1,3", "--profile", "lan,wan")

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("nodes 1,3; lan,wan; guarded: 4 seeds, 0 with violations; ")
    for fact in ("virtual hours", "writes acknowledged", "linearizable and", "causal reads", "per core-second"):
        assert fact in result.stdout


def test_json_says_the_same() -> None:
    result = run("--seeds", "3", "--json")
    said = json.loads(result.stdout)

    assert result.exit_code == 0, result.output
    assert (said["engine"], said["nodes"], said["profiles"]) == ("guarded", [3], ["wan"])
    assert (said["seeds"], said["violations"]) == (1, [])
    assert min(said[count] for count in ("acknowledged", "reads", "causal_reads", "virtual_s", "core_s", "wall_s")) > 0
    assert said["virtual_s_per_core_s"] > 0


def test_a_violation_is_one_line_with_the_command_that_shows_it_again() -> None:
    """Stock provides them. The exit code is 1."""
    result = run("--seeds", f"0:{STOCK_SEEDS}", "--engine", "stock")
    lines = result.stdout.splitlines()

    assert result.exit_code == 1, result.output
    assert len(lines) >= 2
    seed_and_problem, _, command = lines[0].partition(" | replay: ")
    again = run(*shlex.split(command)[4:])
    assert again.exit_code == 1
    assert again.stdout.splitlines()[0].startswith(seed_and_problem)


def test_one_seed_is_one_seed() -> None:
    assert run("--seeds", "3").stdout.startswith("nodes 3; wan; guarded: 1 seed, 0 with violations; ")


def test_a_short_run_of_stock_that_holds_says_that_it_proves_nothing_and_counts_no_reads() -> None:
    """It has no linearizable reads, and no session asks it for others. Which seeds hold depends on the code."""
    runs = (run("--seeds", str(seed), "--engine", "stock") for seed in range(STOCK_SEEDS))
    result = next(result for result in runs if result.exit_code == 0)
    summary, note = result.stdout.splitlines()

    assert "reads" not in summary
    assert note == f"stock has held so far: it takes about {STOCK_SEEDS} seeds to catch it"


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--seeds", "5:5", "holds no seed"),
        ("--seeds", "x", "must be A:B"),
        ("--seeds", "-1:2", "begins below 0"),
        ("--nodes", "0", "must be 1 to 9"),
        ("--nodes", "3,x", "must be a number"),
        ("--nodes", "3,3", "names one twice"),
        ("--profile", "moon", "must be lan, wan"),
        ("--profile", "lan,lan", "names one twice"),
        ("--profile", "auto", "part of a seed's character"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(option: str, value: str, why: str) -> None:
    result = run(option, value)

    assert result.exit_code == 2, result.output
    assert why in result.output
