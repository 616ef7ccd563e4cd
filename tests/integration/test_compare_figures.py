"""Every figure of `python -m benchmarks compare`, tiny, from end to end. How fast anything is, is never asked."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.compare.catalogue import stages_for
from benchmarks.compare.command import Request, compare
from benchmarks.compare.scope import QUICK, Scope

TINY = replace(
    QUICK,
    rounds=1,
    warm_up_s=0.1,
    measure_s=2.0,
    callers=8,
    fewer_callers=4,
    put_keys=100,
    read_keys=20,
    puts_beside_per_s=40,
    wan_calls=2,
    kills=1,
    sizes=(150, 300),
    fill_limit_s=60.0,
    restarts=1,
    memory_s=3.0,
    overload_s=1.0,
    overload_callers=20,
    curve_callers=(1, 2),
)
FIGURES = [
    ["puts", "puts_1k", "puts_256", "puts_unary", "unary_share", "put_latency"],
    ["reads_local", "reads_linearizable", "reads_beside_puts"],
    ["forwarded"],
    ["wan"],
    ["leader_loss"],
    ["cost", "restart", "power_cut"],
    ["memory"],
    ["overload"],
]  # fmt: skip


def test_no_figure_is_left_out_here() -> None:
    names = [figure.name for stage in stages_for("etcd", TINY) for figure in stage.figures]
    assert [name for group in FIGURES for name in group] == names


async def _compare(peer: str, only: list[str], tmp_path: Path, scope: Scope = TINY) -> list[dict[str, object]]:
    said: list[str] = []
    request = Request(peer, scope, "tiny", tuple(only), tmp_path / "out.json")
    await compare(request, said.append)
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["peer"] == peer
    assert {"commit", "machine"} <= content["stamp"].keys()
    figures: list[dict[str, object]] = content["figures"]
    for figure in figures:
        assert {
            "name",
            "ours",
            "theirs",
            "ratio",
            "goal",
            "met",
            "opponent",
            "unit",
            "spread",
            "rounds",
        } <= figure.keys()
        assert figure["status"] != "failed", (figure, said)
        if figure["status"] == "measured":
            assert isinstance(figure["ours"], float | int)
            assert (figure["theirs"] is None) == (figure["opponent"] == "-")
        else:
            assert figure["note"], "what is not measured says why"
    return figures


@pytest.mark.process
async def test_a_tiny_run_of_one_figure_works(tmp_path: Path) -> None:
    figures = await _compare("etcd", ["puts"], tmp_path)
    assert {figure["opponent"] for figure in figures} == {"etcd (Python)", "etcd (Go)"}
    assert all(isinstance(figure["ours"], float) for figure in figures), "ours is measured without an opponent, too"


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("only", FIGURES, ids=lambda names: names[0])
async def test_a_tiny_run_of_every_figure_works(only: list[str], tmp_path: Path) -> None:
    figures = await _compare("etcd", only, tmp_path)
    assert figures


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("peer", ["nats", "zookeeper"])
async def test_a_tiny_run_against_other_peers_works(peer: str, tmp_path: Path) -> None:
    figures = await _compare(peer, [], tmp_path)
    assert all(figure["met"] is None for figure in figures), "no goals stand against this peer"
