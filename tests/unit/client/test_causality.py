"""What a context has seen: tokens only move on, its tasks share it, and another group's token moves nothing."""

import asyncio
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.client.causality import Causality, carried, current
from replicator.model.causal_token import CausalToken, later, token_scope
from replicator.model.errors import InvalidToken
from replicator.model.ids import LogIndex

HERE, ELSEWHERE = token_scope(b"founder"), token_scope(b"another")


def token(index: int) -> str:
    return CausalToken(LogIndex(index)).encode(HERE)


FOREIGN = CausalToken(LogIndex(5)).encode(ELSEWHERE)
INDEXES = st.integers(0, (1 << 64) - 1)


@given(INDEXES, INDEXES)
def test_of_two_tokens_the_later_covers_both(one: int, other: int) -> None:
    assert later(token(one), token(other)) == token(max(one, other))


@given(st.lists(INDEXES, min_size=1), st.randoms())
def test_replies_in_any_order_move_it_to_the_newest(indexes: list[int], dice: random.Random) -> None:
    causality = Causality()
    dice.shuffle(indexes)
    for index in indexes:
        causality.observe(token(index))
    assert causality.token == token(max(indexes))


@pytest.mark.parametrize("act", [Causality, Causality().observe, Causality(token(1)).observe, Causality().note])
@pytest.mark.parametrize("text", ["", "no token", token(7)[:-1] + "!", token(7)[:-1]])
def test_what_is_no_token_is_refused(act: Callable[[str], object], text: str) -> None:
    with pytest.raises(InvalidToken):
        act(text)


def test_a_token_of_another_group_is_refused_by_hand_and_moves_nothing_in_a_reply() -> None:
    causality = Causality(token(3))
    with pytest.raises(InvalidToken, match="another group"):
        causality.observe(FOREIGN)
    causality.note(FOREIGN)
    assert causality.token == token(3), "the next read is refused with the remedy, instead of reading older data"


async def test_tasks_of_a_context_share_it_and_other_contexts_do_not() -> None:
    async def observe(index: int) -> None:
        found = current()
        assert found is not None
        await asyncio.sleep(0)
        found.observe(token(index))

    async def request(index: int) -> str | None:
        with carried(token(index)) as causality:
            await asyncio.gather(observe(index + 1), observe(index + 2))
            assert await asyncio.to_thread(current) is causality
            return causality.token

    assert list(await asyncio.gather(request(10), request(20))) == [token(12), token(22)]
    assert current() is None


def test_contexts_nest() -> None:
    with carried(token(1)) as outer:
        with carried() as inner:
            assert current() is inner
        assert current() is outer
        assert outer.token == token(1)
