"""What is made of measured values."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.effort import Effort
from benchmarks.figures import Collector, Figure, Result, percentile
from benchmarks.report import number, table, write_json

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(FINITE, min_size=1), st.floats(min_value=0, max_value=1))
def test_a_percentile_is_the_smallest_measured_value_that_enough_values_do_not_exceed(
    values: list[float], share: float
) -> None:
    ascending = sorted(values)
    found = percentile(ascending, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6
    assert sum(value < found for value in values) <= share * len(values)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 50), (0.07, 7), (0.99, 99), (1.0, 100)])
def test_percentiles_of_one_to_a_hundred_are_their_own_number(share: float, expected: int) -> None:
    assert percentile(range(1, 101), share) == expected


def test_a_percentile_of_nothing_or_beyond_all_is_refused() -> None:
    with pytest.raises(ValueError, match="of nothing"):
        percentile([], 0.5)
    with pytest.raises(ValueError, match="must be 0 to 1"):
        percentile([1.0], 1.5)


def test_a_figure_shows_its_median_between_its_lowest_and_highest_round() -> None:
    figure = Figure("puts", "puts/s", (3.0, 1.0, 2.0)).to_json()
    assert (figure["median"], figure["min"], figure["max"], figure["values"]) == (2.0, 1.0, 3.0, [3.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="without a measurement"):
        Figure("puts", "puts/s", ())


def test_a_collector_keeps_rounds_and_the_order_of_figures() -> None:
    found = Collector()
    for value in (1.0, 2.0):
        found.add("b", "ms", value)
        found.add("a", "ms", 10 * value)
    assert found.figures() == (Figure("b", "ms", (1.0, 2.0)), Figure("a", "ms", (10.0, 20.0)))


def test_a_result_is_written_whole_for_machines_and_shown_whole_to_people(tmp_path: Path) -> None:
    result = Result("x_time", "How long?", {"keys": 3}, (Figure("one", "ms", (1234.5,)),), ("a note",))
    write_json(tmp_path / "r.json", {"commit": "abc"}, [result])
    written = json.loads((tmp_path / "r.json").read_text())
    assert written["stamp"] == {"commit": "abc"}
    assert written["results"] == [result.to_json()]
    shown = table(result)
    assert all(part in shown for part in ("How long?", "keys 3", "one", "1,234", "ms", "note: a note"))


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (0.0321, "0.032"), (1.239, "1.24"), (12.34, "12.3"), (98765.4, "98,765")]
)
def test_numbers_show_about_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown


def test_effort_scales_counts_but_never_to_nothing() -> None:
    assert Effort(1, 0.5).count(1000) == 500
    assert Effort(1, 0.001).count(10) == 1
    for rounds, scale in ((0, 1.0), (1, 0.0)):
        with pytest.raises(ValueError, match="must be at least"):
            Effort(rounds, scale)


async def test_without_a_request_for_quiet_nothing_is_waited_for() -> None:
    assert not await Effort(1).until_quiet()
