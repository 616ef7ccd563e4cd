"""Two addresses of one peer take turns, in no hurry; a refusal at one does not delay the other."""

import random

import pytest

from replicator.transport.links.address_turns import AddressTurns
from replicator.transport.settings import LinkTimers

GROUP, FILE = "127.0.0.1:1", "127.0.0.1:2"
TIMERS = LinkTimers()


def turns_of(*addresses: str, seed: int = 1) -> AddressTurns:
    return AddressTurns(addresses, random.Random(seed), TIMERS)


def test_an_address_that_fails_passes_the_turn_on_and_the_groups_comes_first() -> None:
    turns, dialled = turns_of(GROUP, FILE), []
    for attempt in range(6):
        dialled.append(turns.address)
        turns.failed(float(attempt))
    assert dialled == [GROUP, FILE] * 3


@pytest.mark.parametrize("addresses", [(GROUP,), (GROUP, FILE)])
def test_two_addresses_are_dialled_no_more_often_than_one(addresses: tuple[str, ...]) -> None:
    for seed in range(50):
        turns, now_s, attempts = turns_of(*addresses, seed=seed), 0.0, 0
        while now_s < 600:
            wait_s = turns.failed(now_s)
            assert TIMERS.backoff_min_s <= wait_s <= TIMERS.backoff_max_s
            now_s += wait_s
            attempts += 1
        assert attempts < 600 / TIMERS.backoff_max_s * 2.5, "the mean wait is about half the longest"


def test_a_refusal_at_one_address_does_not_delay_the_other() -> None:
    """Another node holds the group's address. The peer is found soon after it starts, however long that took."""
    for seed in range(50):
        turns, now_s, refused_at_s = turns_of(GROUP, FILE, seed=seed), 0.0, []
        while now_s < 600:
            if turns.address == GROUP:
                refused_at_s.append(now_s)
                wait_s = turns.refused(now_s)
            else:
                wait_s = turns.failed(now_s)
            assert TIMERS.backoff_min_s <= wait_s <= TIMERS.backoff_max_s
            now_s += wait_s
        assert 600 / TIMERS.refused_backoff_max_s < len(refused_at_s) < 150, "and who refuses is left in peace"


def test_where_every_address_refuses_waits_grow_as_with_one() -> None:
    for seed in range(50):
        turns, now_s, dialled = turns_of(GROUP, FILE, seed=seed), 0.0, []
        while now_s < 600:
            dialled.append(turns.address)
            wait_s = turns.refused(now_s)
            assert wait_s >= TIMERS.backoff_min_s
            now_s += wait_s
        assert len(dialled) < 300
        assert min(dialled.count(GROUP), dialled.count(FILE)) > 600 / TIMERS.refused_backoff_max_s


def test_a_refusal_without_another_address_waits_as_refusals_do() -> None:
    turns = turns_of(GROUP)
    waits_s = [turns.refused(0.0) for _ in range(200)]
    assert max(waits_s) > TIMERS.refused_backoff_max_s / 2
    assert turns.address == GROUP

    turns.pardon()
    assert turns.refused(0.0) <= 2 * TIMERS.backoff_min_s, "another membership is in force, which may be news to it"


def test_the_address_that_answered_keeps_its_turn() -> None:
    turns = turns_of(GROUP, FILE)
    turns.failed(0.0)
    turns.welcomed()
    turns.held()
    assert turns.pause_s() <= 2 * TIMERS.backoff_min_s
    assert (turns.address, turns.number) == (FILE, 1), "where the peer was found a moment ago it is sought first"


def test_while_an_older_link_serves_only_the_address_that_is_new_is_dialled() -> None:
    turns = turns_of(GROUP, FILE)
    for attempt in range(9):
        (turns.refused if attempt % 2 else turns.failed)(float(attempt), stays=True)
        assert turns.address == GROUP
