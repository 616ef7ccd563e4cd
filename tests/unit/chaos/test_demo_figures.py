"""The numbers of the demo: each from its own calls, by a definition that can be checked by hand."""

from dataclasses import replace

import pytest

from chaos.demo.figures import Latency, figures_of, percentile
from chaos.demo.stage import least_write_s, round_trip_s
from chaos.history import History, Result
from tests.support.demo_runs import a_chronicle, a_history


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 50, None),
        ([7.0], 99, 7.0),
        ([1.0, 2.0, 3.0, 4.0], 50, 2.0),
        (list(range(1, 101)), 99, 99),
        ([1, 2], 100, 2),
    ],
)
def test_a_percentile_is_a_value_that_was_measured(values: list[float], share: float, expected: float | None) -> None:
    assert percentile(values, share) == expected


def test_latency_needs_no_order() -> None:
    operations = [replace(o, end_s=o.start_s + took_s) for o, took_s in zip(a_history(), (3.0, 1.0, 2.0), strict=False)]
    latency = Latency.of(operations)
    assert latency.count == 3
    assert latency.p50_s == pytest.approx(2.0)
    assert latency.p99_s == pytest.approx(3.0)


def test_a_write_can_take_no_less_than_to_the_leader_and_on_to_the_nearest_other() -> None:
    assert least_write_s("eu", leader_region="eu") == 0.080
    assert least_write_s("ap", leader_region="eu") == pytest.approx(0.220 + 0.080)
    assert least_write_s("us", leader_region="ap") == pytest.approx(0.150 + 0.150)
    assert round_trip_s("us", "us") == 0


def test_the_time_without_a_leader_ends_with_the_first_confirmed_write_that_began_after_the_kill() -> None:
    """A reply of the dead leader may still arrive after its death; it says nothing of a successor."""
    history = a_history()
    straggler = replace(next(iter(history)), start_s=109.9, end_s=110.05)
    unknown = replace(straggler, start_s=110.1, end_s=110.2, result=Result.UNKNOWN)
    figures = figures_of(History.of([*history, straggler, unknown]), a_chronicle())
    assert figures.without_leader_s == pytest.approx(111.0 + 0.2 - 110.0)


def test_the_figures_of_a_run_count_every_call_once() -> None:
    history = a_history()
    figures = figures_of(history, a_chronicle())
    assert figures.writes_acknowledged == len(history.writes(Result.OK))
    assert figures.writes_unknown == 120
    assert figures.reads == len(history.reads())
    assert figures.came_back_s == pytest.approx(1.5)
    assert figures.converged_s == pytest.approx(0.4)
    assert figures.traffic_s == pytest.approx(50.0)
    assert [row.writes.count for row in figures.regions] == [120, 120, 120]
    assert [row.writes_whole_run.count for row in figures.regions] == [600, 600, 480]


def test_a_read_that_another_region_answered_is_no_local_read() -> None:
    moved = [replace(o, answered_in="us") if o.region == "eu" and not o.is_write else o for o in a_history()]
    eu, *_ = figures_of(History.of(moved), a_chronicle()).regions
    assert (eu.local_reads.count, eu.news_reads.count, eu.reads_elsewhere) == (0, 0, 1200)


def test_what_did_not_happen_has_no_figure() -> None:
    chronicle = a_chronicle()
    chronicle.kill = chronicle.cutting = None
    figures = figures_of(History(), chronicle)
    assert (figures.without_leader_s, figures.came_back_s, figures.converged_s) == (None, None, None)
    assert all(row.writes.p50_s is None for row in figures.regions)
