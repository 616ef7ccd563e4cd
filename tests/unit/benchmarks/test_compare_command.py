"""`python -m benchmarks compare`: what it takes, and that a figure that fails takes no other with it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.command import benchmarks
from benchmarks.compare.catalogue import PEERS, stages_for
from benchmarks.compare.command import PAGE, figure_names
from benchmarks.compare.go_client import GoMissing, build
from benchmarks.compare.outcome import END, beginning
from benchmarks.compare.rows import NO_OPPONENT, Book, Row
from benchmarks.compare.scope import FULL, QUICK
from benchmarks.compare.task import Figure, Stage, Task, run_stage

# Of the full run against etcd, by figure. A goal is not changed in silence; one that is not met is answered, not moved.
GOALS = {
    "puts": [">= 5 x", ">= 2.5 x, stretch 4 x"],
    "puts_1k": [">= 5 x", ">= 2.5 x, stretch 4 x"],
    "puts_256": [">= 5 x"],
    "puts_unary": [">= 0.35 x"],
    "unary_share": [],
    "put_latency": ["<= 1.5 x", "<= 2 x"],
    "reads_local": [">= 8 x"],
    "reads_linearizable": [">= 5 x"],
    "reads_beside_puts": [">= 8 x", "<= 5 ms"],
    "forwarded": [">= 0.7 x"],
    "wan": ["<= 5 ms more", "<= 1 ms"],
    "leader_loss": ["<= 1 x"],
    "cost": ["<= 1.3 x", "<= 1.3 x", "<= 1.3 x"],
    "restart": ["<= 0.5 s", "<= 1.5 s"],
    "power_cut": ["<= 2 s"],
    "memory": ["<= 1.1 x"],
    "overload": ["<= 0 nodes", "<= 0 puts", "<= 0 probes", "<= 50 ms", "<= 5 s"],
}


@pytest.mark.parametrize("scope", [FULL, QUICK])
@pytest.mark.parametrize("peer", PEERS)
def test_every_row_is_declared_once_and_names_its_opponent(peer: str, scope: object) -> None:
    stages = stages_for(peer, FULL if scope is FULL else QUICK)
    rows = [row for stage in stages for figure in stage.figures for row in figure.rows]
    assert len({(row.name, row.opponent) for row in rows}) == len(rows)
    assert all(row.opponent for row in rows)
    names = [figure.name for stage in stages for figure in stage.figures]
    assert len(set(names)) == len(names)
    if peer != "etcd":
        assert all(row.goal is None for row in rows)


def test_the_goals_are_those_that_the_project_has_set_itself() -> None:
    found = {
        figure.name: [row.goal.text(row.unit) for row in figure.rows if row.goal is not None]
        for stage in stages_for("etcd", FULL)
        for figure in stage.figures
    }
    assert found == GOALS


def test_an_unknown_peer_or_figure_is_refused_before_anything_runs() -> None:
    assert CliRunner().invoke(benchmarks, ["compare", "--peer", "nobody"]).exit_code == 2
    done = CliRunner().invoke(benchmarks, ["compare", "--peer", "etcd", "--only", "no_such"])
    assert done.exit_code == 2
    assert "puts" in done.output
    done = CliRunner().invoke(benchmarks, ["compare", "--peer", "etcd", "--only", "puts", "--write-docs"])
    assert done.exit_code == 2


def test_the_page_explains_every_figure_and_has_the_blocks_that_runs_fill() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for peer in PEERS:
        assert END in text.partition(beginning(peer))[2]
    for name in figure_names("etcd"):
        assert f"`{name}`" in text, name


def _stage(rows: dict[str, Row], opened: list[str]) -> Stage[str]:
    @asynccontextmanager
    async def opening(_task: Task) -> AsyncIterator[str]:
        opened.append("opened")
        yield "clusters"

    async def works(_clusters: str, task: Task) -> None:
        task.book.add(rows["works"], 1.0)

    async def breaks(_clusters: str, task: Task) -> None:
        task.book.add(rows["breaks"], 1.0)
        raise ExceptionGroup("callers", [RuntimeError("the leader died\nand more")])

    figures = (
        Figure("breaks", "?", (rows["breaks"],), breaks),
        Figure("works", "?", (rows["works"],), works),
    )
    return Stage(opening, figures)


async def test_a_figure_that_fails_is_recorded_and_the_next_gets_fresh_clusters() -> None:
    rows = {name: Row(name, NO_OPPONENT, "s") for name in ("breaks", "works")}
    said: list[str] = []
    opened: list[str] = []
    book = Book()
    book.expect(rows.values())
    await run_stage(_stage(rows, opened), Task(QUICK, book, said.append))
    broken, working = (line.to_json() for line in book.lines())
    assert (broken["status"], broken["note"]) == ("failed", "RuntimeError: the leader died")
    assert working["status"] == "measured"
    assert len(opened) == 2
    assert any("FAILED" in line for line in said)


async def test_clusters_that_do_not_start_fail_all_their_figures() -> None:
    rows = {name: Row(name, NO_OPPONENT, "s") for name in ("breaks", "works")}

    @asynccontextmanager
    async def refuses(_task: Task) -> AsyncIterator[str]:
        raise RuntimeError("no ports")
        yield ""  # type: ignore[unreachable]

    book = Book()
    book.expect(rows.values())
    await run_stage(Stage(refuses, _stage(rows, []).figures), Task(QUICK, book, lambda _line: None))
    assert {line.to_json()["note"] for line in book.lines()} == {"RuntimeError: no ports"}
    assert {line.to_json()["status"] for line in book.lines()} == {"failed"}


async def test_without_go_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GoMissing, match="golang-go"):
        await build()
