"""The verdict of the demo: held only if every promise held, and each of them was put to the test."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from chaos.demo.chronicle import Phase
from chaos.demo.verdict import Outcome, Verdict, judge
from chaos.history import FinalCopy, History, Operation, Pair, Result
from tests.support.demo_runs import a_chronicle, a_history, an_ending


def breaches(verdict: Verdict) -> dict[str, int]:
    return {promise.name: promise.breaches for promise in verdict.promises if promise.breaches}


def failed_guards(verdict: Verdict) -> set[str]:
    return {guard.name for guard in verdict.guards if not guard.passed}


def without(history: History, unwanted: Callable[[Operation], bool]) -> History:
    return History.of([o for o in history if not unwanted(o)], history.copies)


def test_a_run_in_which_all_went_well_holds() -> None:
    verdict = judge(a_history(), a_chronicle(), an_ending(), complaints=())
    assert (breaches(verdict), failed_guards(verdict)) == ({}, set())
    assert verdict.outcome is Outcome.HELD
    assert all(promise.checked > 0 for promise in verdict.promises)


def test_a_lost_write_breaks_its_promise_and_names_the_write() -> None:
    history = a_history()
    first, *others = history.copies
    lost_key = next(iter(first.pairs))
    holed = replace(first, pairs={key: pair for key, pair in first.pairs.items() if key != lost_key})
    verdict = judge(History.of(history, [holed, *others]), a_chronicle(), an_ending(), complaints=())

    assert verdict.outcome is Outcome.BROKEN
    assert breaches(verdict).keys() == {"lost", "diverged"}
    [lost] = [promise for promise in verdict.promises if promise.name == "lost"]
    assert lost_key in lost.evidence[0]


def test_an_order_that_was_applied_twice_breaks_its_promise() -> None:
    history = a_history()
    key, pair = next(iter(history.copies[0].pairs.items()))
    twice = [replace(copy, pairs={**copy.pairs, key: replace(pair, version=2)}) for copy in history.copies]
    verdict = judge(History.of(history, twice), a_chronicle(), an_ending(), complaints=())
    assert breaches(verdict).keys() == {"duplicated"}


def test_a_stale_read_breaks_its_promise() -> None:
    operations = list(a_history())
    number, read = next((i, o) for i, o in enumerate(operations) if o.carried and o.revision > 5)
    operations[number] = replace(read, revision=read.revision - 1, token="")
    verdict = judge(History.of(operations, a_history().copies), a_chronicle(), an_ending(), complaints=())
    assert verdict.outcome is Outcome.BROKEN
    assert "causal_violations" in breaches(verdict)


def test_a_reader_that_was_shown_less_than_it_was_told_breaks_the_promise() -> None:
    verdict = judge(a_history(), a_chronicle(), an_ending(), complaints=["eu saw the past"])
    assert breaches(verdict) == {"causal_violations": 1}


def test_a_write_that_a_cut_off_region_confirms_alone_breaks_its_promise() -> None:
    operations = list(a_history())
    number, write = next((i, o) for i, o in enumerate(operations) if o.result is Result.UNKNOWN)
    operations[number] = replace(write, result=Result.OK, revision=99_999, token="t99999")
    copies = [
        FinalCopy(c.node, c.region, {**c.pairs, write.key: Pair(write.value or "", 99_999, 1)}, 1, "r", "s")
        for c in a_history().copies
    ]
    verdict = judge(History.of(operations, copies), a_chronicle(), an_ending(), complaints=())
    assert breaches(verdict) == {"confirmed_alone": 1}


def test_a_broken_promise_outweighs_what_is_unproven() -> None:
    verdict = judge(History(), a_chronicle(), an_ending(), complaints=["eu saw the past"])
    assert verdict.outcome is Outcome.BROKEN


def test_a_run_without_any_traffic_proves_nothing() -> None:
    verdict = judge(History(), a_chronicle(), an_ending(), complaints=())
    assert verdict.outcome is Outcome.UNPROVEN
    assert {"steady_writes_eu", "successor_works", "majority_goes_on", "tokens_travelled"} <= failed_guards(verdict)


def _is_in(phase: Phase) -> Callable[[Operation], bool]:
    [span] = [span for span in a_chronicle().spans if span.phase is phase]
    return lambda o: span.start_s <= o.start_s < span.end_s


@pytest.mark.parametrize(
    ("guard", "unwanted"),
    [
        ("steady_writes_ap", lambda o: o.region == "ap" and o.is_write and _is_in(Phase.STEADY)(o)),
        ("steady_reads_us", lambda o: o.region == "us" and not o.is_write and _is_in(Phase.STEADY)(o)),
        ("successor_works", lambda o: o.is_write and _is_in(Phase.LEADERLESS)(o)),
        ("killed_node_serves", lambda o: o.node == "eu-1" and _is_in(Phase.RETURNED)(o)),
        ("majority_goes_on", lambda o: o.region != "ap" and o.is_write and _is_in(Phase.CUT)(o)),
        ("cut_region_reads", lambda o: o.region == "ap" and not o.is_write and _is_in(Phase.CUT)(o)),
        ("cut_region_writes_again", lambda o: o.region == "ap" and o.is_write and _is_in(Phase.HEALED)(o)),
        ("tokens_travelled", lambda o: o.worker.endswith("courier-1")),
    ],
)
def test_too_little_traffic_in_one_place_is_unproven(guard: str, unwanted: Callable[[Operation], bool]) -> None:
    scarce = without(a_history(), unwanted)
    copies = [
        replace(copy, pairs={o.key: copy.pairs[o.key] for o in scarce.writes(Result.OK)}) for copy in scarce.copies
    ]
    orphans = {o.key for o in scarce.writes()}
    judged = History.of([o for o in scarce if o.is_write or o.value is None or o.key in orphans], copies)
    known = {o.token for o in judged}
    verdict = judge(
        History.of([o for o in judged if not o.carried or o.carried in known], copies), a_chronicle(), an_ending(), ()
    )
    assert guard in failed_guards(verdict)
    assert verdict.outcome is Outcome.UNPROVEN


@pytest.mark.parametrize(
    ("guard", "path", "value"),
    [
        ("kill_was_sigkill", "kill.exit_code", 0),
        ("kill_in_mid_traffic", "kill.writes_in_flight", 0),
        ("leader_replaced", "kill.new_leader", ""),
        ("leader_replaced", "kill.new_term", 1),
        ("killed_node_returned", "kill.came_back_s", 0.0),
        ("cut_took_effect", "cutting.bytes_during", 1),
        ("cut_took_effect", "cutting.bytes_after", 0),
        ("region_converged", "cutting.converged_s", 0.0),
        ("leader_killed", "kill", None),
        ("region_cut_off", "cutting", None),
    ],
)
def test_a_fault_without_effect_is_unproven(guard: str, path: str, value: object) -> None:
    chronicle = a_chronicle()
    *owners, name = path.split(".")
    setattr(getattr(chronicle, owners[0]) if owners else chronicle, name, value)
    verdict = judge(a_history(), chronicle, an_ending(), complaints=())
    assert failed_guards(verdict) == {guard}
    assert verdict.outcome is Outcome.UNPROVEN


def test_nodes_that_never_came_to_rest_are_unproven() -> None:
    verdict = judge(a_history(), a_chronicle(), an_ending(settled_s=None), complaints=())
    assert failed_guards(verdict) == {"all_quiet"}
