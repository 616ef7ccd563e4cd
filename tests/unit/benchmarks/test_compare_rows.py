"""Goals, ratios and spread of the comparison. How fast anything is, is never asked."""

import json

import pytest

from benchmarks.compare.outcome import END, beginning, markdown_table, text_table, write_docs, write_json
from benchmarks.compare.rows import (
    NO_OPPONENT,
    Book,
    Goal,
    Judged,
    Row,
    at_most,
    at_most_more,
    at_most_times,
    ratios,
    times,
)

FASTER = Row("puts/s", "etcd", "puts/s", times(5.0, stretch=8.0))
ALONE = Row("restart", NO_OPPONENT, "s", at_most(0.5))


def _book(*rows: Row) -> Book:
    book = Book()
    book.expect(rows)
    return book


def test_a_ratio_is_that_of_each_round_so_that_a_slow_minute_cancels_out() -> None:
    """Medians of each side would give 50 / 20."""
    assert ratios([60.0, 50.0, 6.0], [20.0, 25.0, 1.0]) == [3.0, 2.0, 6.0]
    book = _book(FASTER)
    for ours, theirs in ((60.0, 20.0), (50.0, 25.0), (6.0, 1.0)):
        book.add(FASTER, ours, theirs)
    (line,) = book.lines()
    found = line.to_json()
    assert (found["ours"], found["theirs"], found["ratio"]) == (50.0, 20.0, 3.0)
    assert found["spread"] == {
        "ours": {"min": 6.0, "max": 60.0}, "theirs": {"min": 1.0, "max": 25.0}, "ratio": {"min": 2.0, "max": 6.0},
    }  # fmt: skip
    assert (found["met"], found["rounds"], found["goal"]) == (False, 3, ">= 5 x, stretch 8 x")


@pytest.mark.parametrize(
    ("goal", "ours", "theirs", "met"),
    [
        (times(5.0), 10.0, 2.0, True),
        (times(5.0), 9.9, 2.0, False),
        (at_most_times(1.5), 3.0, 2.0, True),
        (at_most_times(1.5), 3.1, 2.0, False),
        (at_most_more(5.0), 84.9, 80.0, True),
        (at_most_more(5.0), 85.1, 80.0, False),
    ],
)
def test_a_goal_is_met_or_not(goal: Goal, ours: float, theirs: float, met: bool) -> None:
    row = Row("x", "them", "ms", goal)
    book = _book(row)
    book.add(row, ours, theirs)
    assert book.lines()[0].met is met


def test_where_theirs_is_nothing_there_is_no_ratio_and_no_goal_is_met() -> None:
    book = _book(FASTER)
    book.add(FASTER, 10.0, 0.0)
    found = book.lines()[0].to_json()
    assert (found["ratio"], found["met"]) == (None, False)


def test_a_goal_for_ours_alone_needs_no_opponent() -> None:
    book = _book(ALONE)
    book.add(ALONE, 0.4)
    found = book.lines()[0].to_json()
    assert (found["met"], found["theirs"], found["ratio"], found["goal"]) == (True, None, None, "<= 0.5 s")
    with pytest.raises(ValueError, match="opponent"):
        book.add(ALONE, 0.4, 0.3)
    assert Goal(Judged.OURS, 2.0, at_most=False).text("s") == ">= 2 s"


def test_a_figure_that_failed_is_shown_as_failed_and_meets_no_goal() -> None:
    book = _book(FASTER, ALONE)
    book.add(FASTER, 100.0, 1.0)
    book.fail([FASTER], "RuntimeError: no leader")
    failed, waiting = (line.to_json() for line in book.lines())
    assert (failed["status"], failed["met"], failed["note"]) == ("failed", False, "RuntimeError: no leader")
    assert (waiting["status"], waiting["met"]) == ("not measured", None)
    shown = text_table([failed, waiting]).splitlines()
    assert shown[1].endswith("FAILED")
    assert "no leader" in shown[2]
    assert shown[3].endswith("not measured")


def test_what_cannot_be_measured_here_says_why_and_stays_so_when_others_fail() -> None:
    book = _book(FASTER, ALONE)
    book.omit(FASTER, "no Go compiler")
    book.add_ours(FASTER, 7.0)
    book.fail([FASTER, ALONE], "RuntimeError: x")
    omitted, failed = (line.to_json() for line in book.lines())
    assert (omitted["status"], omitted["ours"], omitted["ratio"], omitted["met"]) == ("not measured", 7.0, None, None)
    assert omitted["note"] == "no Go compiler"
    assert failed["status"] == "failed"


def test_a_figure_whose_conditions_did_not_hold_does_not_meet_its_goal() -> None:
    book = _book(FASTER)
    book.add(FASTER, 100.0, 1.0)
    book.refute(FASTER, "ours took only 10 puts/s beside")
    assert book.lines()[0].met is False


def test_the_page_gets_the_table_between_its_marks_and_keeps_the_rest(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("page")
    book = _book(FASTER)
    book.add(FASTER, 100.0, 10.0)
    figures = [line.to_json() for line in book.lines()]
    stamp = {
        "commit": "abc", "taken_at": "now", "python": "3",
        "machine": {"cores_usable": 2, "processor": "cpu", "fsync_ms_median": 0.1},
    }  # fmt: skip
    content = {"stamp": stamp, "peer": "etcd", "peer_version": "3.4", "effort": "quick", "figures": figures}
    page = folder / "page.md"
    page.write_text(f"before\n{beginning('etcd')}\nold\n{END}\nafter\n")
    write_docs(page, content)
    text = page.read_text()
    assert text.startswith(f"before\n{beginning('etcd')}\nCommit `abc`")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert markdown_table(figures) in text
    assert "| puts/s | etcd | 100 (100 to 100) | 10.0 (10.0 to 10.0) | 10.0 (10.0 to 10.0) |" in text
    write_docs(page, content)
    assert page.read_text() == text
    page.write_text("no marks")
    with pytest.raises(ValueError, match="no block"):
        write_docs(page, content)
    write_json(folder / "out.json", content)
    assert json.loads((folder / "out.json").read_text())["figures"] == figures
