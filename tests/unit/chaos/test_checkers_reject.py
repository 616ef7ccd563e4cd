"""Every checker must find the violation that it exists for, planted here by hand."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from chaos.checkers import (
    Violation,
    causal_reads,
    convergence,
    counters,
    exactly_once,
    monotonic_reads,
    no_lost_ack,
    no_lost_update,
    one_revision,
    read_your_writes,
    true_values,
)
from chaos.checkers.violation import Breach
from chaos.history import Export, FinalCopy, History, Kind, Operation, Pair, Result

_clock = iter(range(1_000_000))


def an_operation(kind: Kind, key: str, result: Result = Result.OK, **facts: Any) -> Operation:
    now_s = float(next(_clock))
    basics: dict[str, Any] = {"worker": "eu/1", "region": "eu", "start_s": now_s, "end_s": now_s + 0.5}
    return Operation(kind=kind, key=key, result=result, **basics | facts)


def a_put(key: str, revision: int, value: str = "v", result: Result = Result.OK, **facts: Any) -> Operation:
    token = f"t{revision}" if result is Result.OK else ""
    return an_operation(Kind.PUT, key, result, revision=revision, value=value, token=token, **facts)


def a_swap(key: str, revision: int, expected: int, result: Result = Result.OK, **facts: Any) -> Operation:
    return an_operation(
        Kind.COMPARE_AND_SET, key, result, revision=revision, expected_revision=expected, **{"value": "v"} | facts
    )


def a_read(key: str, mod_revision: int, revision: int, **facts: Any) -> Operation:
    given: dict[str, Any] = {"value": "v" if mod_revision else None, "token": f"t{revision}"}
    return an_operation(Kind.READ, key, mod_revision=mod_revision, revision=revision, **given | facts)


def a_copy(node: str = "eu-1", **pairs: Pair) -> FinalCopy:
    return FinalCopy(node, node[:2], pairs)


def only(violations: Sequence[Violation], breach: Breach, *words: str) -> None:
    """Exactly one violation, of this kind, that names these words."""
    [violation] = violations
    assert violation.breach is breach
    for word in words:
        assert word in str(violation)


# no_lost_ack


def test_an_acknowledged_write_that_is_gone_is_lost() -> None:
    history = History.of([a_put("k", 5)], [a_copy()])
    only(no_lost_ack.check(history), Breach.LOST, "put k@5", "no such key")


def test_a_loss_on_a_single_node_counts() -> None:
    held = Pair("v", 5, 1)
    history = History.of([a_put("k", 5)], [a_copy("eu-1", k=held), a_copy("us-1", k=held), a_copy("ap-1")])
    only(no_lost_ack.check(history), Breach.LOST, "ap-1")


def test_a_key_that_fell_back_to_an_older_write_is_lost() -> None:
    history = History.of([a_put("k", 5), a_put("k", 9, "w")], [a_copy(k=Pair("v", 5, 2))])
    only(no_lost_ack.check(history), Breach.LOST, "@9", "older @5")


def test_another_value_at_the_acknowledged_revision_is_a_loss() -> None:
    history = History.of([a_put("k", 5, "mine")], [a_copy(k=Pair("theirs", 5, 1))])
    only(no_lost_ack.check(history), Breach.LOST, "another value")


def test_a_later_write_may_replace_an_acknowledged_one() -> None:
    assert no_lost_ack.check(History.of([a_put("k", 5)], [a_copy(k=Pair("x", 9, 2))])) == []


def test_a_later_write_does_not_hide_that_an_earlier_one_never_counted() -> None:
    history = History.of([a_put("k", 5), a_put("k", 7)], [a_copy(k=Pair("v", 7, 1))])
    only(no_lost_ack.check(history), Breach.LOST, "2 writes", "counts 1")


def test_an_unknown_or_failed_write_cannot_be_lost() -> None:
    history = History.of([a_put("k", 0, result=Result.UNKNOWN), a_put("j", 0, result=Result.FAILED)], [a_copy()])
    assert no_lost_ack.check(history) == []


def test_an_element_missing_from_its_list_is_lost() -> None:
    history = History.of(
        [a_swap("cart", 1, 0, element="cups"), a_swap("cart", 2, 1, element="tea", value='["tea"]')],
        [a_copy(cart=Pair(json.dumps(["tea"]), 2, 2))],
    )
    only(no_lost_ack.check(history), Breach.LOST, "cups", "cart")


def test_a_deleted_key_is_not_lost_and_a_delete_that_did_not_stay_is() -> None:
    deleted = an_operation(Kind.DELETE, "k", revision=6)
    assert no_lost_ack.check(History.of([a_put("k", 5), deleted], [a_copy()])) == []
    only(
        no_lost_ack.check(History.of([a_put("k", 5), deleted], [a_copy(k=Pair("v", 5, 1))])), Breach.LOST, "delete k@6"
    )


# exactly_once


def test_a_write_that_was_applied_twice_shows_in_the_version() -> None:
    history = History.of([a_put("k", 5)], [a_copy(k=Pair("v", 6, 2))])
    only(exactly_once.check(history), Breach.DUPLICATED, "at most 1", "counts 2")


@pytest.mark.parametrize("version", [1, 2])
def test_an_unknown_write_may_count_once_or_not_at_all(version: int) -> None:
    history = History.of([a_put("k", 5), a_put("k", 0, result=Result.UNKNOWN)], [a_copy(k=Pair("v", 6, version))])
    assert exactly_once.check(history) == []


def test_an_unknown_write_that_was_applied_twice_is_a_duplicate() -> None:
    history = History.of([a_put("k", 0, result=Result.UNKNOWN)], [a_copy(k=Pair("v", 6, 2))])
    only(exactly_once.check(history), Breach.DUPLICATED, "counts 2")


def test_a_failed_write_that_is_there_is_a_duplicate() -> None:
    history = History.of([a_put("k", 0, result=Result.FAILED)], [a_copy(k=Pair("v", 6, 1))])
    only(exactly_once.check(history), Breach.DUPLICATED, "at most 0")


def test_an_element_that_is_there_twice_is_a_duplicate() -> None:
    items = json.dumps([{"id": "cups"}, {"id": "cups"}])
    history = History.of([a_swap("cart", 1, 0, element="cups", value=items)], [a_copy(cart=Pair(items, 1, 1))])
    only(exactly_once.check(history), Breach.DUPLICATED, "cups is 2 times")


def test_an_element_whose_every_attempt_failed_must_not_be_there() -> None:
    items = json.dumps(["cups", "tea"])
    history = History.of(
        [
            a_swap("cart", 0, 0, Result.FAILED, element="cups"),
            a_swap("cart", 2, 1, element="tea", value=items),
        ],
        [a_copy(cart=Pair(items, 2, 1))],
    )
    only(exactly_once.check(history), Breach.DUPLICATED, "every attempt to add it failed")


def test_two_writes_with_one_revision_are_a_duplicate() -> None:
    only(exactly_once.check(History.of([a_put("a", 5), a_put("b", 5)])), Breach.DUPLICATED, "one revision")


# counters


@pytest.mark.parametrize(
    ("held", "breach"), [("4", Breach.LOST), ("5", None), ("8", None), ("9", Breach.DUPLICATED)], ids=str
)
def test_a_counter_lies_between_what_is_acknowledged_and_what_is_possible(held: str, breach: Breach | None) -> None:
    history = History.of(
        [
            a_swap("sold", 1, 0, amount=5),
            a_swap("sold", 0, 1, Result.UNKNOWN, amount=3),
            a_swap("sold", 0, 1, Result.FAILED, amount=100),
        ],
        [a_copy(sold=Pair(held, 2, 2))],
    )
    violations = counters.check(history)
    if breach is None:
        assert violations == []
    else:
        only(violations, breach, "sold")


def test_a_counter_that_is_gone_counts_as_zero() -> None:
    only(counters.check(History.of([a_swap("sold", 1, 0, amount=5)], [a_copy()])), Breach.LOST, "sold is 0")


# no_lost_update


def test_a_swap_that_overwrote_a_write_between_is_found() -> None:
    history = History.of([a_put("k", 1), a_swap("k", 3, 1), a_swap("k", 5, 1)])
    only(no_lost_update.check(history), Breach.WRONG, "@5", "replaced @1", "@3", "unseen")


def test_swaps_in_a_chain_are_fine() -> None:
    assert no_lost_update.check(History.of([a_swap("k", 5, 3), a_put("k", 1), a_swap("k", 3, 1)])) == []


def test_a_swap_cannot_replace_what_came_after_it() -> None:
    only(no_lost_update.check(History.of([a_swap("k", 3, 7)])), Breach.WRONG, "came after")


# causal_reads


def test_a_read_from_before_its_token_is_causally_wrong() -> None:
    history = History.of([a_put("a", 8), a_read("b", 2, revision=7, carried="t8", answered_in="ap", node="ap-1")])
    only(causal_reads.check(history), Breach.CAUSAL, "revision 8", "from 7", "ap-1 in ap")


def test_an_old_value_under_a_new_revision_is_causally_wrong() -> None:
    """A replica that claims to be up to date, but shows the past of the very key that was handed over."""
    history = History.of([a_put("a", 8), a_read("a", 3, revision=9, carried="t8")])
    only(causal_reads.check(history), Breach.CAUSAL, "older @3")


def test_a_missing_key_under_its_token_is_causally_wrong() -> None:
    history = History.of([a_put("a", 8), a_read("a", 0, revision=9, carried="t8")])
    only(causal_reads.check(history), Breach.CAUSAL, "older @0")


def test_the_token_of_a_read_covers_what_that_read_saw() -> None:
    history = History.of(
        [a_put("a", 8), a_read("a", 8, revision=9, worker="us/1"), a_read("a", 4, revision=9, carried="t9")]
    )
    only(causal_reads.check(history), Breach.CAUSAL, "older @4")


def test_a_token_that_two_writes_share_covers_both() -> None:
    history = History.of([a_put("a", 8), a_put("b", 9), a_read("a", 2, revision=12, carried="t8")])
    shared = History.of([operation for operation in history if operation.key == "b"])
    shared.append(an_operation(Kind.PUT, "a", revision=8, token="t9", value="v"))
    shared.append(a_read("a", 2, revision=12, carried="t9"))
    only(causal_reads.check(shared), Breach.CAUSAL, "older @2")


def test_a_read_without_a_token_may_be_old() -> None:
    assert causal_reads.check(History.of([a_put("a", 8), a_read("a", 3, revision=3)])) == []


def test_a_token_that_nobody_gave_out_is_an_error_of_the_harness() -> None:
    with pytest.raises(KeyError):
        causal_reads.check(History.of([a_read("a", 3, revision=3, carried="t77")]))


# read_your_writes, monotonic_reads


def test_a_worker_that_misses_its_own_write_is_found() -> None:
    history = History.of([a_put("a", 8), a_read("a", 5, revision=9, carried="t8")])
    only(read_your_writes.check(history), Breach.CAUSAL, "its own", "@8")


def test_a_worker_that_sees_what_it_deleted_is_found() -> None:
    put, gone = a_put("a", 8), an_operation(Kind.DELETE, "a", revision=9, token="t9")
    assert read_your_writes.check(History.of([put, gone, a_read("a", 0, revision=9, carried="t9")])) == []
    history = History.of([put, gone, a_read("a", 8, revision=9, carried="t9")])
    only(read_your_writes.check(history), Breach.CAUSAL, "delete a@9")


def test_another_workers_write_is_not_ones_own() -> None:
    history = History.of([a_put("a", 8, worker="us/1"), a_read("a", 5, revision=6, carried="t5")])
    assert read_your_writes.check(history) == []


def test_a_reader_that_steps_back_in_state_is_found() -> None:
    history = History.of([a_read("a", 1, revision=9), a_read("b", 1, revision=8, carried="t9")])
    only(monotonic_reads.check(history), Breach.CAUSAL, "revision 8", "seen 9")


def test_a_reader_that_steps_back_in_one_key_is_found() -> None:
    history = History.of([a_read("a", 7, revision=9), a_read("a", 6, revision=9, carried="t9")])
    only(monotonic_reads.check(history), Breach.CAUSAL, "older than")


def test_two_readers_may_see_different_times() -> None:
    history = History.of([a_read("a", 7, revision=9), a_read("a", 6, revision=6, carried="t5", worker="ap/1")])
    assert monotonic_reads.check(history) == []


# true_values, convergence


def test_a_value_that_the_write_of_that_revision_did_not_have_is_wrong() -> None:
    history = History.of([a_put("a", 8, "mine"), a_read("a", 8, revision=9, value="theirs")])
    only(true_values.check(history), Breach.WRONG, "another value")


def test_a_value_that_nobody_wrote_is_wrong() -> None:
    only(true_values.check(History.of([a_read("a", 4, revision=9)])), Breach.WRONG, "no write")


def test_a_value_of_an_unknown_write_may_be_read_and_of_a_failed_one_may_not() -> None:
    unknown = a_put("a", 0, "maybe", result=Result.UNKNOWN)
    failed = a_put("a", 0, "never", result=Result.FAILED)
    assert true_values.check(History.of([unknown, a_read("a", 4, revision=9, value="maybe")])) == []
    only(true_values.check(History.of([failed, a_read("a", 4, revision=9, value="never")])), Breach.WRONG, "no write")


def test_a_made_up_value_in_a_final_copy_is_wrong() -> None:
    only(true_values.check(History.of([], [a_copy(k=Pair("v", 3, 1))])), Breach.WRONG, "eu-1 at the end")


def test_nodes_that_hold_different_pairs_diverge() -> None:
    history = History.of([], [a_copy("eu-1", k=Pair("v", 3, 1)), a_copy("us-1", k=Pair("w", 3, 1))])
    only(convergence.check(history), Breach.DIVERGED, "eu-1 and us-1 differ in k")


@pytest.mark.parametrize(
    ("facts", "word"),
    [((9, "r", "s"), "applied index"), ((8, "x", "s"), "rolling hash"), ((8, "r", "x"), "state hash")],
)
def test_nodes_that_differ_in_position_or_hash_diverge(facts: tuple[int, str, str], word: str) -> None:
    history = History.of([], [FinalCopy("eu-1", "eu", {}, 8, "r", "s"), FinalCopy("us-1", "us", {}, *facts)])
    only(convergence.check(history), Breach.DIVERGED, word)


# one_revision


def an_export(revision: int, start_s: float = 0.0, **pairs: Pair) -> Export:
    return Export("eu/1", revision, pairs, start_s, start_s + 1.0)


def test_an_export_that_shows_what_came_after_it_is_torn() -> None:
    history = History.of([a_put("k", 9)], exports=[an_export(5, k=Pair("v", 9, 1))])
    only(one_revision.check(history), Breach.WRONG, "export@5", "k@9")


def test_an_export_that_shows_what_was_replaced_before_it_is_torn() -> None:
    history = History.of([a_put("k", 3), a_put("k", 5, "w")], exports=[an_export(7, k=Pair("v", 3, 1))])
    only(one_revision.check(history), Breach.WRONG, "k@3", "put k@5", "replaced")


def test_an_export_that_lacks_a_write_of_before_is_torn_unless_a_delete_may_have_taken_it() -> None:
    writes = [a_put("k", 3), a_put("other", 8)]
    only(one_revision.check(History.of(writes, exports=[an_export(5)])), Breach.WRONG, "lacks put k@3")
    deleted = [*writes, an_operation(Kind.DELETE, "k", Result.UNKNOWN)]
    assert one_revision.check(History.of(deleted, exports=[an_export(5)])) == []


def test_an_export_that_shows_another_value_is_wrong() -> None:
    history = History.of([a_put("k", 3)], exports=[an_export(3, k=Pair("w", 3, 1))])
    only(one_revision.check(history), Breach.WRONG, "another value")


def test_an_export_of_before_an_acknowledgement_that_it_followed_is_stale() -> None:
    put = a_put("k", 3)
    history = History.of([put], exports=[an_export(2, put.end_s + 1.0)])
    only(one_revision.check(history), Breach.STALE, "put k@3")
    assert one_revision.check(History.of([put], exports=[an_export(2, put.start_s)])) == []
