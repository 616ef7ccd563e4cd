"""Each planted bug of transactions is caught by the check that is there for it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from hypothesis import Phase, find, settings
from hypothesis import strategies as st

from replicator.machine import apply, digest, evaluate, sessions, transaction
from replicator.machine.frontier import Frontier
from replicator.machine.store_port import DELETED, StorePort
from replicator.machine.transaction import Plan, Refusal
from replicator.model.ids import Revision
from tests.support import transaction_checks as checks
from tests.support.planted_bugs import replaced
from tests.support.transactions import courses, transactions

Bug = Callable[[], AbstractContextManager[None]]
_Planning: Any = transaction._Planning


def splits_a_transaction_over_revisions() -> AbstractContextManager[None]:
    """Each change is a revision of its own, as if the operations had been sent one by one."""

    def one_by_one(store: StorePort, at: Frontier, plan: Plan) -> None:
        at.live_keys += plan.live_keys_added
        for key, value, new, old in plan.changes:
            at.revision = Revision(at.revision + 1)
            create = at.revision if new[2] == new[0] else new[2]
            record: Any = (at.revision, 0, create, *new[3:])
            store.put_change(key, value, record, store.find(key) if old is not None else None, at.time_ms)

    return replaced(evaluate, "carry_out", one_by_one)


@contextmanager
def reads_past_its_own_writes() -> Iterator[None]:
    """A read inside sees the state before the transaction only."""
    stored = lambda self, start, end: (item for item in self.store.walk(start, end) if item[0])  # noqa: E731
    live = lambda self, key: _alive(self.store.find(key))  # noqa: E731
    with replaced(_Planning, "_live", live), replaced(_Planning, "_all_between", stored):
        yield


def _alive(record: Any) -> Any:
    return None if record is None or record[5] & DELETED else record


def compares_what_it_has_written() -> AbstractContextManager[None]:
    """Which branch a nested transaction takes is decided when its turn comes."""
    original = _Planning.run

    def late(self: Any, path: Any) -> Any:
        nested = [op.transaction for op in path.branch if op.HasField("transaction")]
        return original(self, path._replace(nested=[_Chosen(self, each) for each in nested]))

    return replaced(_Planning, "run", late)


class _Chosen:
    """Looks like a path, and chooses when it is looked at."""

    def __init__(self, planning: Any, nested: Any) -> None:
        self._planning, self._nested = planning, nested

    def _replace(self, **_: Any) -> Any:
        """Its turn has come."""
        changes, self._planning.changes = self._planning.changes, []
        path = self._planning.chosen(self._nested)
        self._planning.changes = changes
        nested = [op.transaction for op in path.branch if op.HasField("transaction")]
        return path._replace(nested=[_Chosen(self._planning, each) for each in nested])

    @property
    def branch(self) -> Any:
        return ()


def evaluates_a_retry_again() -> AbstractContextManager[None]:
    """Remembers that it was applied, and answers with what would come of it now."""
    original = sessions.apply_once

    def again(store: Any, at: Frontier, batch: Any) -> Any:
        outcome = original(store, at, batch)
        if not outcome.duplicate:
            return outcome
        anew = evaluate.evaluate(store, at, batch)
        anew.duplicate = True
        return anew

    return replaced(apply, "apply_once", again)


def keeps_what_was_written_before_a_refusal() -> AbstractContextManager[None]:
    """Operations write as they come; the one that is refused ends the transaction where it is."""
    original = transaction.planned

    def partly(store: StorePort, at: Frontier, asked: Any, batch_bytes: int) -> Plan | Refusal:
        made: list[Any] = []
        write = _Planning._write

        def noted(self: Any, *change: Any) -> None:
            write(self, *change)
            made[:] = [self]

        with replaced(_Planning, "_write", noted):
            plan = original(store, at, asked, batch_bytes)
        if isinstance(plan, Refusal) and made:
            planning = made[0]
            transaction.carry_out(store, at, Plan(Any, 0, planning.changes, planning.live_keys_added))  # type: ignore[arg-type]
        return plan

    return replaced(evaluate, "planned", partly)


def counts_deletions_that_compaction_may_have_taken() -> AbstractContextManager[None]:
    """What a range looks at counts, whether another node still has it or not."""

    def every_one(self: Any, record: Any) -> None:
        self.range_keys += 1
        most = self.store.limits.transaction_range_keys_max
        transaction._check("its ranges meet more than {} keys", most, self.range_keys, 0)

    return replaced(_Planning, "_count_met", every_one)


def leaves_results_out_of_the_digest() -> AbstractContextManager[None]:
    return replaced(digest, "result_fields", lambda _result: ())


def lets_a_key_be_put_twice() -> AbstractContextManager[None]:
    return replaced(evaluate, "flaw_of", lambda *_: None)


def holds_for_some_key_of_a_range() -> AbstractContextManager[None]:
    """A compare over a range holds if any key does."""

    def some(self: Any, compare: Any) -> bool:
        if compare.HasField("key"):
            return bool(self._holds_for(compare, compare.key, self._live(compare.key)))
        return any(self._holds_for(compare, key, record) for key, record in self._live_between(compare.range))

    return replaced(_Planning, "_holds", some)


def fails(check: Callable[..., None], *arguments: Any) -> bool:
    try:
        check(*arguments)
    except AssertionError:
        return True
    return False


quick = settings(database=None, derandomize=True, deadline=None, max_examples=1000, phases=[Phase.generate])
some = st.lists(transactions, max_size=5)


@pytest.mark.parametrize(
    "bug",
    [
        splits_a_transaction_over_revisions,
        reads_past_its_own_writes,
        compares_what_it_has_written,
        lets_a_key_be_put_twice,
        holds_for_some_key_of_a_range,
    ],
)
def test_the_model_catches_a_wrong_evaluation(bug: Bug) -> None:
    with bug():
        find(some, lambda drawn: fails(checks.check_against_the_model, drawn), settings=quick)


def test_two_nodes_catch_a_limit_that_counts_what_only_one_has() -> None:
    with counts_deletions_that_compaction_may_have_taken():
        find(courses, lambda drawn: fails(checks.check_that_compaction_changes_no_answer, drawn), settings=quick)


@pytest.mark.parametrize(
    ("bug", "check"),
    [
        (evaluates_a_retry_again, checks.check_that_a_retry_is_answered_as_before),
        (keeps_what_was_written_before_a_refusal, checks.check_that_a_refused_one_leaves_nothing),
        (leaves_results_out_of_the_digest, checks.check_that_the_digest_covers_results),
    ],
)
def test_a_check_passes_and_catches_its_bug(bug: Bug, check: Callable[[], None]) -> None:
    check()
    with bug():
        assert fails(check)
