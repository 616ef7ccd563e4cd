"""Tokens survive the round trip, and nothing else does."""

from hypothesis import given
from hypothesis import strategies as st

from replicator.model.causal_token import CausalToken, PageToken, TokenScope, token_scope
from replicator.model.errors import InvalidToken
from replicator.model.ids import LogIndex, Revision
from replicator.model.limits import KEY_BYTES_MAX

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
positions = st.integers(0, (1 << 64) - 1)
scopes = st.binary(min_size=16, max_size=16).map(token_scope)
causal = positions.map(LogIndex).map(CausalToken)
pages = st.builds(
    PageToken, positions.map(Revision), positions.map(LogIndex), st.binary(min_size=1, max_size=KEY_BYTES_MAX)
)


@given(causal | pages, scopes)
def test_a_token_survives_the_round_trip(token: CausalToken | PageToken, scope: TokenScope) -> None:
    assert type(token).decode(token.encode(scope), scope) == token


@given(causal | pages, scopes, st.data())
def test_a_token_with_any_character_changed_or_cut_is_refused(
    token: CausalToken | PageToken, scope: TokenScope, data: st.DataObject
) -> None:
    text = token.encode(scope)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(ALPHABET.replace(text[place], "")))
    for altered in (text[:place] + other + text[place + 1 :], text[:place], text[place + 1 :]):
        _assert_refused(type(token), altered, scope)


@given(causal | pages, scopes, scopes)
def test_a_token_means_nothing_to_another_group(
    token: CausalToken | PageToken, scope: TokenScope, other: TokenScope
) -> None:
    if scope != other:
        _assert_refused(type(token), token.encode(scope), other)


@given(st.text(max_size=80), scopes)
def test_no_text_makes_the_decoder_fail_otherwise_than_by_refusing(text: str, scope: TokenScope) -> None:
    _assert_refused(CausalToken, text, scope)
    _assert_refused(PageToken, text, scope)


def _assert_refused(kind: type[CausalToken | PageToken], text: str, scope: TokenScope) -> None:
    try:
        kind.decode(text, scope)
    except InvalidToken:
        return
    raise AssertionError(f"{text!r} was taken for a {kind.__name__} of {scope!r}")
