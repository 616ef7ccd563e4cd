"""Keys of any length and content keep their order on disk, beside a plain sorted dict."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replicator.model.ids import Revision
from replicator.storage import Storage
from replicator.storage.state import reads
from replicator.storage.state.keys import STEM_BYTES, is_long, stored_key, whole_key
from tests.support.commands import a_turn, an_entry, delete, put, together
from tests.support.storage_process import opened

ends = st.sampled_from([b"", b"\x00", b"\x00\x00", b"\x00\xff", b"\x01", b"\x02", b"a", b"\xfe", b"\xff", b"\xff\xff"])
fillings = st.sampled_from([b"", b"k", b"\x00", b"\xff", b"\x00\xff", b"\x01"])
lengths = st.sampled_from([0, 1, 2, *range(STEM_BYTES // 2 - 2, STEM_BYTES // 2 + 3)]) | st.sampled_from(
    [*range(STEM_BYTES - 3, STEM_BYTES + 4), 1000, 4094]
)


def joined(start: bytes, filling: bytes, length: int, tail: bytes, end: bytes) -> bytes:
    return (start + filling * length + tail + end)[:4096] or b"k"


keys = st.builds(joined, ends, fillings, lengths, ends, ends)


@settings(deadline=None, max_examples=500)
@given(keys, keys)
def test_stored_keys_keep_the_order_of_short_ones_and_group_long_ones(one: bytes, other: bytes) -> None:
    stored = stored_key(one), stored_key(other)
    assert (stored[0] == stored[1]) == (one == other)
    assert all(len(key) <= 511 for key in stored)
    for key, kept in zip((one, other), stored, strict=True):
        assert is_long(kept) or whole_key(kept) == key
    if one != other and stored[0][:STEM_BYTES] != stored[1][:STEM_BYTES]:
        assert (one < other) == (stored[0] < stored[1])


@pytest.mark.parametrize("held_max", [2, 1000])
@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_gets_and_scans_of_adversarial_keys_agree_with_a_sorted_dict(
    monkeypatch: pytest.MonkeyPatch, held_max: int, data: st.DataObject
) -> None:
    monkeypatch.setattr(reads, "LONG_KEYS_HELD_MAX", held_max)
    present = data.draw(st.lists(keys, min_size=1, max_size=14, unique=True), label="present")
    removed = data.draw(st.lists(st.sampled_from(present), max_size=4, unique=True), label="removed")
    start, end = data.draw(keys | st.just(b""), label="start"), data.draw(keys | st.just(b""), label="end")
    with tempfile.TemporaryDirectory() as place:
        storage = opened(Path(place))
        storage.commit(a_turn(an_entry(1, together(*[put(key, b"%d" % n) for n, key in enumerate(present)]))))
        before = {key: b"%d" % n for n, key in enumerate(present)}
        now = {key: value for key, value in before.items() if key not in removed}
        storage.commit(a_turn(an_entry(2, *[delete(key) for key in removed])))
        for key in present:
            found = storage.get(key)[0]
            assert (None if found is None else found.value) == now.get(key)
        for revision, expected in ((len(present), before), (None, now)):
            within = [pair for pair in sorted(expected.items()) if start <= pair[0] and (not end or pair[0] < end)]
            assert scanned(storage, start, end, revision) == within
        storage.close()


def scanned(storage: Storage, start: bytes, end: bytes, at: int | None) -> list[tuple[bytes, bytes]]:
    """All pages, of three keys each."""
    found: list[tuple[bytes, bytes]] = []
    after, more = None, True
    while more:
        page = storage.scan(
            start, end, at_revision=None if at is None else Revision(at), after_key=after, keys_max=3, bytes_max=1 << 20
        )
        found += [(kv.key, kv.value) for kv in page.kvs]
        after, more = page.last_key, page.more
    return found
