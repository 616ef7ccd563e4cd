"""Whatever text a caller sends for a token, a read serves it or ends with a typed error that fits; never INTERNAL."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.model.causal_token import CausalToken, PageToken, TokenScope, token_scope
from replicator.model.errors import (
    InvalidArgument,
    InvalidToken,
    NoLeader,
    ReplicaBehind,
    ReplicatorError,
    TokenAhead,
)
from replicator.model.ids import LogIndex, Revision
from replicator.model.limits import KEY_BYTES_MAX
from replicator.model.values import Consistency
from replicator.service.read import Found
from replicator.service.read_levels import ReadOptions
from replicator.service.scan import Page, ScanRange
from tests.support.memory_cluster import SCOPE, MemoryCluster, MemoryNode

HELD = 3  # pairs, hence revisions; their log ends at HELD + 1
numbers = st.sampled_from([0, 1, HELD, HELD + 1, HELD + 2, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
scopes = st.sampled_from([SCOPE, token_scope(b"bank"), TokenScope(SCOPE.founder_tag, 1), TokenScope(bytes(8), 1 << 31)])
keys = st.binary(min_size=1, max_size=3) | st.just(b"\xff" * KEY_BYTES_MAX)
causal = st.builds(lambda number, scope: CausalToken(LogIndex(number)).encode(scope), numbers, scopes)
pages = st.builds(
    lambda revision, index, key, scope: PageToken(Revision(revision), LogIndex(index), key).encode(scope),
    numbers, numbers, keys, scopes,
)  # fmt: skip
mutated = st.builds(
    lambda text, at, char: text[: at % len(text)] + char + text[at % len(text) + 1 :],
    causal | pages, st.integers(0, 700), st.sampled_from(["", "A", "_", "=", "\n", "é", "\x00", "AA"]),
)  # fmt: skip
texts = causal | pages | mutated | st.text(max_size=60) | st.sampled_from(["A" * 700, "=" * 34, "\ud800"])
Asked = tuple[Found | Page | ReplicatorError, MemoryNode]


async def asked(text: str, level: Consistency, *, as_page: bool, is_cut_off: bool) -> Asked:
    cluster = MemoryCluster()
    leader, follower = cluster.add("n1", "eu"), cluster.add("n2", "us")
    for number in range(HELD):
        await leader.writes().put(b"%d" % number, b"v", None, timeout_s=1.0)
    if is_cut_off:
        follower.cut_off()
    staleness_ms = 60_000 if level is Consistency.BOUNDED else 0
    patience_s = 0.02 if is_cut_off else 20.0  # cut off, it is the time that every example takes
    try:
        if as_page:
            wanted, options = ScanRange(b"", b"", 1, text), ReadOptions(level, "", staleness_ms)
            return await follower.scans().scan(wanted, options, timeout_s=patience_s), follower
        return await follower.reads().get(b"0", ReadOptions(level, text, staleness_ms), timeout_s=patience_s), follower
    except ReplicatorError as error:
        return error, follower


@settings(deadline=None, max_examples=400)
@given(text=texts, level=st.sampled_from(Consistency), as_page=st.booleans(), is_cut_off=st.booleans())
def test_any_text_is_served_or_refused_with_a_typed_error(
    text: str, level: Consistency, as_page: bool, is_cut_off: bool
) -> None:
    answer, node = asyncio.run(asked(text, level, as_page=as_page, is_cut_off=is_cut_off))

    if isinstance(answer, ReplicatorError):
        behind = (ReplicaBehind, NoLeader) if is_cut_off else ()
        assert isinstance(answer, (InvalidToken, InvalidArgument, *behind)), repr(answer)
        assert answer.message.isprintable(), "no text of the caller's gets into the message unescaped"
    else:
        assert CausalToken.decode(answer.token, SCOPE).index <= node.applied_index
        assert answer.revision <= HELD


@settings(deadline=None, max_examples=100)
@given(revision=numbers, index=numbers, key=keys)
def test_a_page_token_that_no_page_can_have_given_is_ahead_or_shows_the_past(
    revision: int, index: int, key: bytes
) -> None:
    text = PageToken(Revision(revision), LogIndex(index), key).encode(SCOPE)
    answer, _ = asyncio.run(asked(text, Consistency.CAUSAL, as_page=True, is_cut_off=False))

    if revision > HELD or index > HELD + 1:
        assert type(answer) is TokenAhead
    else:
        assert isinstance(answer, Page)
        assert answer.revision == revision
