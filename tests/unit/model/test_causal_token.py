"""Tokens: refused unless they are exactly what this group issued."""

import pytest

from replicator.model.causal_token import (
    CAUSAL_TOKEN_CHARS,
    PAGE_TOKEN_CHARS_MAX,
    CausalToken,
    PageToken,
    TokenScope,
    token_scope,
)
from replicator.model.errors import InvalidToken, TokenAhead
from replicator.model.ids import LogIndex, Revision
from replicator.model.limits import KEY_BYTES_MAX, TOKEN_CHARS_MAX

SHOP = token_scope(b"founder of shop")


def test_a_token_is_short_url_safe_text() -> None:
    text = CausalToken(LogIndex((1 << 64) - 1)).encode(SHOP)

    assert len(text) == CAUSAL_TOKEN_CHARS <= TOKEN_CHARS_MAX
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@pytest.mark.parametrize("other", [token_scope(b"founder of bank"), TokenScope(SHOP.founder_tag, group_id=1)])
@pytest.mark.parametrize("token", [CausalToken(LogIndex(7)), PageToken(Revision(1), LogIndex(2), b"k")])
def test_a_token_of_another_group_is_told_apart_from_a_malformed_one(
    token: CausalToken | PageToken, other: TokenScope
) -> None:
    with pytest.raises(InvalidToken, match="issued by another group") as caught:
        type(token).decode(token.encode(other), SHOP)
    assert caught.value.metadata["problem"] == "foreign"
    assert not isinstance(caught.value, TokenAhead)


@pytest.mark.parametrize(
    ("kind", "text"), [(CausalToken, "AcZ1BOoAAAAAAAAAB9qZIuo"), (PageToken, "gcZ1BOoAAAAAAAAAAQAAAAAAAAACa5ESnYw")]
)
def test_a_token_of_the_first_release_is_called_by_its_name(kind: type[CausalToken | PageToken], text: str) -> None:
    """It named a cluster by its configured name, which tells no group from the one that was founded after it."""
    with pytest.raises(InvalidToken, match="issued by an older release") as caught:
        kind.decode(text, SHOP)
    assert caught.value.metadata["problem"] == "old_release"


@pytest.mark.parametrize("text", ["", "x", "not a token", "é" * 23, "A" * 23, "A" * 10_000, "=" * 23, "\n" * 23])
def test_text_that_is_no_token_is_called_malformed(text: str) -> None:
    for decode in (CausalToken.decode, PageToken.decode):
        with pytest.raises(InvalidToken, match="malformed") as caught:
            decode(text, SHOP)
        assert caught.value.metadata["problem"] == "malformed"


def test_padding_and_white_space_are_no_part_of_a_token() -> None:
    text = CausalToken(LogIndex(7)).encode(SHOP)

    for altered in (text + "=", text + "\n", " " + text, text[:5] + "\n" + text[5:]):
        with pytest.raises(InvalidToken):
            CausalToken.decode(altered, SHOP)


def test_a_page_token_is_not_taken_for_a_causal_one_nor_the_other_way_round() -> None:
    page = PageToken(Revision(1), LogIndex(2), b"k")

    with pytest.raises(InvalidToken):
        CausalToken.decode(page.encode(SHOP), SHOP)
    with pytest.raises(InvalidToken):
        PageToken.decode(CausalToken(LogIndex(2)).encode(SHOP), SHOP)


def test_a_page_token_of_the_longest_key_fits_its_limit() -> None:
    page = PageToken(Revision(1), LogIndex(2), b"k" * KEY_BYTES_MAX)

    assert len(page.encode(SHOP)) == PAGE_TOKEN_CHARS_MAX
    assert PageToken.decode(page.encode(SHOP), SHOP) == page


def test_merging_takes_the_later_token() -> None:
    early, late = CausalToken(LogIndex(3)), CausalToken(LogIndex(9))

    assert early.merge(late) == late.merge(early) == late
