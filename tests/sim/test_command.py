"""`python -m chaos simulate`: what it prints, and how it ends."""

import json
import shlex

from click.testing import CliRunner, Result

from chaos.simulation.command import simulate_command

STOCK_BROKEN_BY = 40  # seeds; see test_stock.py


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
    assert (said["seeds"], said["violations"]) == (1, [])
    assert min(said[count] for count in ("acknowledged", "reads", "causal_reads", "virtual_s", "core_s", "wall_s")) > 0
    assert said["virtual_s_per_core_s"] > 0


def test_a_violation_is_one_line_with_the_command_that_shows_it_again() -> None:
    """Stock provides them. The exit code is 1."""
    result = run("--seeds", f"0:{STOCK_BROKEN_BY}", "--engine", "stock")
    lines = result.stdout.splitlines()

    assert result.exit_code == 1, result.output
    assert len(lines) >= 2
    seed_and_problem, _, command = lines[0].partition(" | replay: ")
    again = run(*shlex.split(command)[4:])
    assert again.exit_code == 1
    assert again.stdout.splitlines()[0].startswith(seed_and_problem)


def test_what_makes_no_sense_is_refused() -> None:
    for arguments in (
        ["--seeds", "5:5"],
        ["--seeds", "x"],
        ["--nodes", "0"],
        ["--nodes", "3,x"],
        ["--profile", "moon"],
    ):
        assert run(*arguments).exit_code == 2, arguments
