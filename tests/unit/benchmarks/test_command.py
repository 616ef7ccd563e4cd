"""`python -m benchmarks`. How fast anything is, is never asked."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.command import BENCHMARKS, benchmarks


def test_every_benchmark_asks_one_question_and_is_offered() -> None:
    shown = CliRunner().invoke(benchmarks, ["--help"])
    assert shown.exit_code == 0
    for benchmark in BENCHMARKS:
        assert benchmark.question.endswith("?"), benchmark.name
        assert benchmark.name in shown.output


@pytest.mark.parametrize("arguments", [["apply_rate", "--rounds", "0"], ["all", "--scale", "0"], ["no_such"]])
def test_a_request_that_makes_no_sense_is_refused_before_anything_runs(arguments: list[str]) -> None:
    done = CliRunner().invoke(benchmarks, arguments)
    assert done.exit_code == 2


def _run(arguments: list[str], json_file: Path) -> dict[str, list[float]]:
    """Rounds of each figure, by name."""
    done = CliRunner().invoke(benchmarks, [*arguments, "--json", str(json_file)], catch_exceptions=False)
    assert done.exit_code == 0
    content = json.loads(json_file.read_text())
    assert {"commit", "machine", "python", "libraries"} <= content["stamp"].keys()
    (result,) = content["results"]
    assert result["configuration"]["rounds" if "rounds" in result["configuration"] else "kills"] == 2
    return {figure["name"]: figure["values"] for figure in result["figures"]}


def test_a_small_run_of_apply_rate_leaves_stamped_figures(tmp_path: Path) -> None:
    figures = _run(["apply_rate", "--rounds", "2", "--scale", "0.01"], tmp_path / "r.json")
    assert len(figures) == 7
    assert all(len(values) == 2 and min(values) > 0 for values in figures.values())


@pytest.mark.process
def test_a_node_that_missed_writes_is_seen_to_catch_up(tmp_path: Path) -> None:
    figures = _run(["catch_up_time", "--rounds", "2", "--scale", "0.01"], tmp_path / "r.json")
    assert min(figures["entries missed"]) >= 1
    for started, converged in zip(
        figures["process start to listening"], figures["process start to converged"], strict=True
    ):
        assert 0 < started <= converged


@pytest.mark.process
def test_a_cluster_whose_leader_is_killed_is_seen_to_commit_again(tmp_path: Path) -> None:
    figures = _run(["failover_time", "--rounds", "2"], tmp_path / "r.json")
    assert all(min(values) > 0 for name, values in figures.items() if "CPU" not in name)


@pytest.mark.process
def test_restarted_nodes_are_seen_to_serve_what_was_loaded(tmp_path: Path) -> None:
    figures = _run(["restart_time", "--rounds", "2", "--scale", "0.001"], tmp_path / "r.json")
    assert min(figures["1,000 keys, one of three: process start to the first committed put"]) > 0
    assert min(figures["1,000 keys: data in use"]) > min(figures["0 keys: data in use"])
