"""The last screen and its form for machines: the verdict first, every figure, nothing cut away."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from chaos.demo.machine_form import as_json
from chaos.demo.summary import Report, show
from chaos.history import History
from tests.support.demo_runs import a_chronicle, a_history, a_report, an_ending


def printed(report: Report, width: int = 80) -> str:
    console = Console(width=width, record=True, force_terminal=False, file=io.StringIO())
    show(report, console)
    return console.export_text()


@pytest.mark.parametrize("width", [80, 140])
def test_the_verdict_comes_first_and_no_line_is_too_long(width: int) -> None:
    text = printed(a_report(a_history(), a_chronicle(), an_ending()), width)
    assert "EVERY PROMISE HELD" in text.strip().splitlines()[1]
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text


def test_the_summary_says_what_was_done_and_measured() -> None:
    text = " ".join(printed(a_report(a_history(), a_chronicle(), an_ending()), 140).split())
    for fact in (
        "the leader (eu-1) was killed with SIGKILL and came back",
        "region ap was cut off and healed",
        "No acknowledged write is lost",
        "without a leader 1.2 s",
        "killed node back 1.5 s",
        "converged 0.4 s",
        "ap 220 300 200/200",
        "seed 7",
    ):
        assert fact in text


def test_a_broken_promise_is_shown_with_its_evidence() -> None:
    history = a_history()
    first, *others = history.copies
    spoilt = History.of(history, [replace(first, pairs=dict(list(first.pairs.items())[1:])), *others])
    text = printed(a_report(spoilt, a_chronicle(), an_ending(), Path("/somewhere/kept")))
    assert "A PROMISE WAS BROKEN" in text
    assert "✗" in text
    assert "order/eu/STEADY-0" in text
    assert "/somewhere/kept" in text


def test_an_unproven_run_says_what_is_missing() -> None:
    text = printed(a_report(a_history(), a_chronicle(), an_ending(settled_s=None)))
    assert "NOT PROVEN" in text
    assert "all_quiet" in text


def test_a_run_that_ended_early_can_still_be_shown() -> None:
    chronicle = a_chronicle()
    chronicle.kill = chronicle.cutting = None
    chronicle.spans = []
    text = printed(a_report(History(), chronicle, an_ending()))
    assert "NOT PROVEN" in text
    assert "nothing went wrong" in text


def test_the_form_for_machines_holds_the_same_facts() -> None:
    form = json.loads(json.dumps(as_json(a_report(a_history(), a_chronicle(), an_ending()))))
    assert form["verdict"] == "held"
    assert form["writes"]["lost"] == form["writes"]["duplicated"] == form["reads"]["causal_violations"] == 0
    assert form["writes"]["acknowledged"] == 1680
    assert form["regions"]["ap"]["round_trip_to_leader_ms"] == 220
    assert form["regions"]["eu"]["local_read"]["p50_ms"] == pytest.approx(2)
    assert form["leader_kill"]["exit_code"] == -9
    assert form["region_cut"]["bytes_crossed"] == 0
    assert form["state_hashes_agree"] is True
    assert {node["state_hash"] for node in form["nodes"].values()} == {"state"}
    assert all(guard["passed"] for guard in form["guards"])
    assert form["data_kept_in"] is None


def test_diverged_hashes_are_not_hidden_from_machines() -> None:
    form = as_json(a_report(a_history(), a_chronicle(), an_ending(state_hashes=("a", "a", "b"))))
    assert form["state_hashes_agree"] is False
