"""LMDB and dicts, fed the same log in different turns, give the same answers; so does a reopened LMDB."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replicator.machine.apply import apply_entry
from replicator.machine.digest import Pair, state_hash
from replicator.model.ids import LogIndex, Revision, Term
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.model.values import KeyValue
from replicator.storage import Storage
from replicator.v1 import store_pb2
from tests.support.commands import an_entry, by, delete, put, swap
from tests.support.memory_store import MemoryStore
from tests.support.storage_process import opened

keys = st.sampled_from([b"a", b"a\x00", b"ab", b"b", b"\x00", b"\xff", b"\xff\xff", b"k" * 480, b"zz"])
values = st.sampled_from([b"", b"1", b"22", b"x" * 3000])
write_ids = st.none() | st.builds(
    lambda client, sequence, back: by(client, sequence, max(1, sequence - back)),
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(0, 6),
)
commands = (
    st.builds(put, keys, values, write_ids)
    | st.builds(delete, keys, write_ids)
    | st.builds(swap, keys, values, st.integers(0, 30), write_ids)
)
batches = st.tuples(st.lists(commands, max_size=8), st.integers(1, 9_000_000))
logs = st.lists(batches, min_size=1, max_size=8).map(
    lambda log: [an_entry(index, *batch, time_ms=time_ms) for index, (batch, time_ms) in enumerate(log, start=1)]
)


def entry_groups(draw: st.DrawFn, log: list[Entry]) -> list[list[Entry]]:
    """The log cut into turns."""
    groups, rest = [], log
    while rest:
        size = draw(st.integers(1, len(rest)))
        groups.append(rest[:size])
        rest = rest[size:]
    return groups


@st.composite
def logs_in_two_groupings(draw: st.DrawFn) -> tuple[list[Entry], list[list[Entry]], list[list[Entry]]]:
    log = draw(logs)
    return log, entry_groups(draw, log), entry_groups(draw, log)


def committed(storage: Storage, groups: list[list[Entry]], *, append_first: bool) -> list[list[store_pb2.BatchOutcome]]:
    """append_first: appended in one turn, applied in the next, as on a follower."""
    outcomes = []
    for group in groups:
        hard_state = HardState(Term(1), None, group[-1].index)
        if append_first:
            storage.commit(TurnWrite(append=tuple(group)))
            outcomes += storage.commit(TurnWrite(hard_state=hard_state, apply=tuple(group)))
        else:
            outcomes += storage.commit(TurnWrite(append=tuple(group), hard_state=hard_state, apply=tuple(group)))
    return outcomes


def as_pairs(kvs: tuple[KeyValue, ...]) -> list[Pair]:
    return [(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version) for kv in kvs]


def scanned(
    storage: Storage, at_revision: int | None, keys_max: int, start: bytes = b"", end: bytes = b""
) -> list[Pair]:
    """All pages of one scan."""
    found: list[Pair] = []
    after_key, more = None, True
    revision = None if at_revision is None else Revision(at_revision)
    while more:
        page = storage.scan(start, end, at_revision=revision, after_key=after_key, keys_max=keys_max, bytes_max=4000)
        assert len(page.kvs) <= keys_max
        found += as_pairs(page.kvs)
        after_key, more, revision = page.last_key, page.more, page.revision
    return found


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(logs_in_two_groupings(), st.integers(1, 4), keys, keys)
def test_same_log_same_state_however_it_is_cut_into_turns(
    drawn: tuple[list[Entry], list[list[Entry]], list[list[Entry]]], keys_max: int, start: bytes, end: bytes
) -> None:
    log, first_groups, second_groups = drawn
    model = MemoryStore()
    expected = [apply_entry(model, entry) for entry in log]

    with tempfile.TemporaryDirectory() as place:
        first, second = opened(Path(place) / "first"), opened(Path(place) / "second")
        assert committed(first, first_groups, append_first=False) == expected
        assert committed(second, second_groups, append_first=True) == expected
        assert first.position == second.position
        assert first.state_hash() == second.state_hash() == (state_hash(model.pairs_at(model.revision)), len(log))
        second.close()

        position = first.position
        first.close()
        first = opened(Path(place) / "first")
        assert first.position == position
        agree(first, model)
        for revision in range(model.revision + 1):
            assert scanned(first, revision, keys_max) == model.pairs_at(revision)
        within = [pair for pair in model.pairs_at(model.revision) if start <= pair[0] < end]
        assert scanned(first, None, keys_max, start, end) == within
        first.close()


def agree(storage: Storage, model: MemoryStore) -> None:
    """Watermarks, every digest, every key."""
    position = storage.position
    assert (position.applied_index, position.revision) == (model.applied_index, model.revision)
    assert (position.live_keys, position.time_ms) == (model.live_keys, model.time_ms)
    assert position.rolling_hash == model.rolling_hash
    for index, digest in model.digests.items():
        assert storage.digest_at(LogIndex(index)) == digest
    live = {pair[0]: pair for pair in model.pairs_at(model.revision)}
    for key in model.revisions:
        pair, revision, _ = storage.get(key)
        assert revision == model.revision
        assert (None if pair is None else as_pairs((pair,))[0]) == live.get(key)
