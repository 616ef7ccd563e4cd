"""Tokens survive the round trip, and nothing else does."""

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.causal_token import CausalToken, PageToken
from replicator.model.errors import InvalidToken
from replicator.model.ids import ClusterId, LogIndex, Revision
from replicator.model.limits import KEY_BYTES_MAX

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
positions = st.integers(0, (1 << 64) - 1)
clusters = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True).map(ClusterId)
causal = positions.map(LogIndex).map(CausalToken)
pages = st.builds(
    PageToken, positions.map(Revision), positions.map(LogIndex), st.binary(min_size=1, max_size=KEY_BYTES_MAX)
)


@given(causal | pages, clusters)
def test_a_token_survives_the_round_trip(token: CausalToken | PageToken, cluster_id: ClusterId) -> None:
    assert type(token).decode(token.encode(cluster_id), cluster_id) == token


@given(causal | pages, clusters, st.data())
def test_a_token_with_any_character_changed_or_cut_is_refused(
    token: CausalToken | PageToken, cluster_id: ClusterId, data: st.DataObject
) -> None:
    text = token.encode(cluster_id)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(ALPHABET.replace(text[place], "")))
    for altered in (text[:place] + other + text[place + 1 :], text[:place], text[place + 1 :]):
        _assert_refused(type(token), altered, cluster_id)


@given(causal | pages, clusters, clusters)
def test_a_token_means_nothing_to_another_cluster(
    token: CausalToken | PageToken, cluster_id: ClusterId, other: ClusterId
) -> None:
    if cluster_id != other:
        _assert_refused(type(token), token.encode(cluster_id), other)


@given(st.text(max_size=80), clusters)
def test_no_text_makes_the_decoder_fail_otherwise_than_by_refusing(text: str, cluster_id: ClusterId) -> None:
    _assert_refused(CausalToken, text, cluster_id)
    _assert_refused(PageToken, text, cluster_id)


def _assert_refused(kind: type[CausalToken | PageToken], text: str, cluster_id: ClusterId) -> None:
    try:
        kind.decode(text, cluster_id)
    except InvalidToken:
        return
    raise AssertionError(f"{text!r} was taken for a {kind.__name__} of {cluster_id!r}")
