"""Silent endpoints are left alone, and retries of what may still be under way have a budget."""

import random

from replicator.client.breakers import OPEN_S_MAX, SILENCES_MAX, Breakers
from replicator.client.retry_budget import RETRIES_A_CALL, RETRIES_AT_ONCE_MAX, RetryBudget


def silent(breakers: Breakers, times: int, now_s: float) -> None:
    for _ in range(times):
        breakers.was_silent("a", now_s)


def test_an_endpoint_is_left_alone_after_several_silences_in_a_row_and_asked_again_later() -> None:
    breakers = Breakers(random.Random(1))
    silent(breakers, SILENCES_MAX - 1, 10.0)
    assert breakers.admits("a", 10.0)
    silent(breakers, 1, 10.0)
    assert not breakers.admits("a", 10.0)
    assert breakers.admits("b", 10.0)
    assert breakers.admits("a", 10.0 + OPEN_S_MAX)


def test_an_answer_in_between_counts_from_the_beginning() -> None:
    breakers = Breakers(random.Random(1))
    silent(breakers, SILENCES_MAX - 1, 10.0)
    breakers.answered("a")
    silent(breakers, SILENCES_MAX - 1, 10.0)
    assert breakers.admits("a", 10.0)


def test_one_call_tries_while_the_others_wait_for_what_comes_of_it() -> None:
    breakers = Breakers(random.Random(1))
    silent(breakers, SILENCES_MAX, 10.0)
    later_s = 10.0 + OPEN_S_MAX
    assert breakers.admits("a", later_s)
    breakers.trying("a", later_s)
    assert not breakers.admits("a", later_s)
    breakers.answered("a")
    assert breakers.admits("a", later_s)


def test_breakers_of_endpoints_that_are_gone_are_forgotten() -> None:
    breakers = Breakers(random.Random(1))
    silent(breakers, SILENCES_MAX, 10.0)
    breakers.forget({"b"})
    assert breakers.admits("a", 10.0)


def test_retries_are_a_share_of_the_calls_and_a_few_more() -> None:
    budget, calls, retries = RetryBudget(), 5000, 0
    for _ in range(calls):
        budget.note_call()
        retries += budget.take()
    assert retries <= calls * RETRIES_A_CALL + RETRIES_AT_ONCE_MAX + 1


def test_what_is_under_way_when_one_node_hangs_can_all_be_retried() -> None:
    budget = RetryBudget()
    assert all(budget.take() for _ in range(68))
