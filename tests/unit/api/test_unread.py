"""Answers that clients do not take: bounded, waited for, in the end at the cost of the connection with most."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.api import unread
from replicator.api.unread import ANSWER_S_MAX, CALL_BYTES, CONNECTION_SHARE, COPIES, Held, UnreadAnswers
from replicator.model.errors import Overloaded

MIB = 1 << 20
BOUND = 64 * MIB
WAIT_S = 30.0
HOSTILE, GOOD = "ipv4:192.0.2.9:1111", "ipv4:192.0.2.1:2222"


class Cuts:
    def __init__(self) -> None:
        self.peers: list[str] = []

    def __call__(self, peer: str, cause: str) -> None:
        assert cause == "unread"
        self.peers.append(peer)


def filled(answers: UnreadAnswers, peer: str) -> list[Held]:
    held = []
    while True:
        try:
            held.append(answers.hold(peer, MIB, droppable=True))
        except Overloaded:
            return held


async def test_a_connection_that_holds_its_share_waits_until_it_has_read() -> None:
    answers = UnreadAnswers(BOUND, Cuts())
    held = [answers.hold(HOSTILE, MIB, droppable=True) for _ in range(BOUND // CONNECTION_SHARE // MIB // COPIES + 1)]
    waiting = asyncio.create_task(answers.wait_for_room(HOSTILE))
    await asyncio.wait_for(answers.wait_for_room(GOOD), WAIT_S)  # others do not wait
    assert not waiting.done()

    for each in held:
        answers.release(each)
    await asyncio.wait_for(waiting, WAIT_S)
    assert answers.size_bytes == 0


async def test_a_caller_that_gives_up_its_wait_leaves_nothing_behind() -> None:
    answers = UnreadAnswers(BOUND, Cuts())
    held = answers.hold(HOSTILE, BOUND // CONNECTION_SHARE, droppable=False)
    waiting = [asyncio.create_task(answers.wait_for_room(HOSTILE)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    answers.release(held)

    await asyncio.wait_for(asyncio.gather(*waiting[1:]), WAIT_S)


def test_beyond_the_bound_of_the_node_answers_to_reads_are_refused_and_those_to_writes_kept() -> None:
    answers = UnreadAnswers(BOUND, Cuts())
    filled(answers, HOSTILE)
    assert answers.size_bytes <= BOUND

    with pytest.raises(Overloaded, match=r"limits\.unread_mib_max"):
        answers.hold(GOOD, MIB, droppable=True)
    answers.hold(GOOD, MIB, droppable=False)  # the write is done: its caller must hear of it


def test_a_full_node_cuts_the_connection_that_holds_most_once_it_has_had_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuts = Cuts()
    answers = UnreadAnswers(BOUND, cuts)
    answers.hold(GOOD, 1000, droppable=True)
    filled(answers, HOSTILE)
    assert cuts.peers == [], "it is fresh"

    monkeypatch.setattr(unread, "CROWDED_S", -1.0)
    with pytest.raises(Overloaded):
        answers.hold(GOOD, MIB, droppable=True)
    assert cuts.peers == [HOSTILE]


def test_an_answer_that_is_never_taken_makes_its_connection_overdue() -> None:
    answers = UnreadAnswers(BOUND, Cuts())
    held = answers.hold(HOSTILE, 10, droppable=True)

    assert answers.overdue(held.since_s + ANSWER_S_MAX) == []
    assert answers.overdue(held.since_s + ANSWER_S_MAX + 0.1) == [HOSTILE]
    answers.release(held)
    assert answers.overdue(held.since_s + 2 * ANSWER_S_MAX) == []


def test_a_watch_that_is_read_slowly_is_not_overdue_and_makes_room_like_others() -> None:
    cuts = Cuts()
    answers = UnreadAnswers(BOUND, cuts)
    slow = answers.hold(HOSTILE, BOUND // 3 - MIB, droppable=True, is_paced=True)
    assert answers.overdue(slow.since_s + 10 * ANSWER_S_MAX) == []
    late = answers.hold(HOSTILE, 10, droppable=True)
    assert answers.overdue(late.since_s + ANSWER_S_MAX + 0.1) == [HOSTILE]
    slow.since_s -= 2.0
    with pytest.raises(Overloaded):
        answers.hold(GOOD, BOUND, droppable=True)
    assert cuts.peers == [HOSTILE]


@given(st.lists(st.tuples(st.sampled_from([HOSTILE, GOOD]), st.integers(0, 4 * MIB), st.booleans()), max_size=60))
def test_what_is_held_adds_up_and_is_bounded(steps: list[tuple[str, int, bool]]) -> None:
    answers = UnreadAnswers(BOUND, Cuts())
    held: list[Held] = []
    for peer, size, releases in steps:
        if releases and held:
            answers.release(held.pop(0))
        try:
            held.append(answers.hold(peer, size, droppable=True))
        except Overloaded:
            assert answers.size_bytes + COPIES * size + CALL_BYTES > BOUND
        assert answers.size_bytes == sum(each.size_bytes for each in held) <= BOUND
    for each in held:
        answers.release(each)
    assert answers.size_bytes == 0
