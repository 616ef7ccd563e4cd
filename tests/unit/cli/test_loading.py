"""Loading pairs: nothing of another's is lost unasked, each pair is counted once, and what was cut off is repeated."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import astuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.cli import loading
from replicator.cli.loading import BATCHES_IN_FLIGHT_MAX, Conflict, Loaded, Loader, OnConflict
from replicator.model.errors import OutcomeUnknown, ReplicatorError, Unavailable
from replicator.model.values import CompareAndSetResult, KeyValue, PutResult
from tests.support.exports import a_pair
from tests.support.planted_bugs import replaced

FAIL, SKIP, OVERWRITE = OnConflict.FAIL, OnConflict.SKIP, OnConflict.OVERWRITE


class ADict:
    """What a cluster does with single keys. errors: raised for a key, after the write if it leaves that unknown."""

    def __init__(self, held: dict[bytes, bytes], errors: dict[bytes, ReplicatorError] | None = None) -> None:
        self.held = held
        self.errors = errors or {}
        self.in_flight = self.in_flight_max = 0

    async def compare_and_set(
        self, key: bytes, value: bytes, *, if_revision: int, timeout_s: float | None = None
    ) -> CompareAndSetResult:
        assert if_revision == 0
        await self._pass_through(key, value, changes=key not in self.held)
        found = self.held.get(key)
        if found is not None:
            return CompareAndSetResult(False, 9, found, 7, "t")
        self.held[key] = value
        return CompareAndSetResult(True, 9, None, 9, "t")

    async def put(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> PutResult:
        await self._pass_through(key, value, changes=True)
        self.held[key] = value
        return PutResult(9, "t")

    async def _pass_through(self, key: bytes, value: bytes, *, changes: bool) -> None:
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight, self.in_flight_max)
        await asyncio.sleep(0)
        self.in_flight -= 1
        error = self.errors.pop(key, None)
        if error is not None:
            if error.applied == "unknown" and changes:
                self.held[key] = value
            raise error


async def in_batches(pairs: Iterable[KeyValue], size: int = 2) -> AsyncIterator[Sequence[KeyValue]]:
    some = list(pairs)
    for first in range(0, len(some), size):
        yield some[first : first + size]


async def loaded(store: ADict, pairs: dict[bytes, bytes], on_conflict: OnConflict = FAIL) -> Loader:
    loader = Loader(store, on_conflict, timeout_s=5.0)
    await loader.load(in_batches(a_pair(key, value) for key, value in sorted(pairs.items())))
    return loader


async def test_pairs_are_written_where_there_is_none_and_left_where_they_are_the_same() -> None:
    store = ADict({b"a": b"1", b"other": b"x"})
    loader = await loaded(store, {b"a": b"1", b"b": b"2"})
    assert loader.loaded == Loaded(written=1, already_there=1)
    assert store.held == {b"a": b"1", b"b": b"2", b"other": b"x"}


async def test_a_conflict_stops_the_load_and_names_the_key() -> None:
    store = ADict({b"b": b"mine"})
    with pytest.raises(Conflict) as caught:
        await loaded(store, {b"a": b"1", b"b": b"2"} | {b"c%d" % n: b"3" for n in range(100)})
    assert (caught.value.key, caught.value.mod_revision) == (b"b", 7)
    assert store.held[b"b"] == b"mine"
    assert len(store.held) < 20


@pytest.mark.parametrize(
    ("on_conflict", "kept", "counted"), [(SKIP, b"mine", Loaded(1, 0, 0, 1)), (OVERWRITE, b"2", Loaded(1, 0, 1, 0))]
)
async def test_a_conflict_is_skipped_or_overwritten_on_request(
    on_conflict: OnConflict, kept: bytes, counted: Loaded
) -> None:
    store = ADict({b"b": b"mine"})
    loader = await loaded(store, {b"a": b"1", b"b": b"2"}, on_conflict)
    assert loader.loaded == counted
    assert store.held == {b"a": b"1", b"b": kept}


async def test_what_is_in_flight_ends_and_is_counted_when_another_pair_fails() -> None:
    store = ADict({}, {b"a": Unavailable("down")})
    loader = Loader(store, FAIL, timeout_s=5.0)
    with pytest.raises(Unavailable):
        await loader.load(in_batches([a_pair(b"%c" % letter, b"v") for letter in b"abcdefghijklmnop"]))
    assert loader.loaded.written == len(store.held) >= 1


async def test_an_unknown_outcome_is_raised_before_any_other_error() -> None:
    store = ADict({b"a": b"mine"}, {b"b": OutcomeUnknown("lost")})
    with pytest.raises(OutcomeUnknown):
        await loaded(store, {b"a": b"1", b"b": b"2"})


async def test_an_error_ends_the_load_although_the_input_says_nothing_more() -> None:
    async def falls_silent() -> AsyncIterator[Sequence[KeyValue]]:
        yield [a_pair(b"a", b"1")]
        await asyncio.Event().wait()

    with pytest.raises(Conflict):
        await asyncio.wait_for(Loader(ADict({b"a": b"mine"}), FAIL, timeout_s=5.0).load(falls_silent()), 30)


async def test_an_error_of_reading_is_raised_once_what_is_in_flight_has_ended() -> None:
    async def breaks() -> AsyncIterator[Sequence[KeyValue]]:
        yield [a_pair(b"a", b"1")]
        raise ValueError("line 3")

    store = ADict({})
    loader = Loader(store, FAIL, timeout_s=5.0)
    with pytest.raises(ValueError, match="line 3"):
        await loader.load(breaks())
    assert (loader.loaded.written, store.held) == (1, {b"a": b"1"})


async def test_no_more_batches_are_in_flight_than_the_limit() -> None:
    store = ADict({})
    await Loader(store, FAIL, timeout_s=5.0).load(in_batches((a_pair(b"%03d" % n, b"v") for n in range(200)), size=3))
    assert store.in_flight_max == 3 * BATCHES_IN_FLIGHT_MAX


keys = st.sampled_from([b"a", b"b", b"c", b"d", b"e", b"f"])
contents = st.dictionaries(keys, st.sampled_from([b"1", b"2"]))
errors = st.dictionaries(keys, st.sampled_from([Unavailable("down"), OutcomeUnknown("lost")]), max_size=3)


def every_run_ends_as_one_that_met_no_error(
    before: dict[bytes, bytes], pairs: dict[bytes, bytes], on_conflict: OnConflict, met: dict[bytes, ReplicatorError]
) -> None:
    """Repeated until nothing fails. A plain model says what has to be there then."""
    store = ADict(dict(before), dict(met))
    conflicts = {key for key in pairs.keys() & before.keys() if pairs[key] != before[key]}
    for _ in range(len(met) + 2):
        loader = Loader(store, on_conflict, timeout_s=5.0)
        try:
            asyncio.run(loader.load(in_batches(a_pair(key, value) for key, value in sorted(pairs.items()))))
        except (ReplicatorError, Conflict) as error:
            failure: Exception | None = error
        else:
            failure = None
            assert sum(astuple(loader.loaded)) == len(pairs)
            break
    if on_conflict is FAIL and conflicts:
        assert isinstance(failure, Conflict)
        assert failure.key in conflicts
        assert all(store.held[key] == before[key] for key in before), "what was there is untouched"
        assert all(before.get(key, pairs.get(key)) == value for key, value in store.held.items())
        return
    assert failure is None
    assert store.held == (pairs | before if on_conflict is not OVERWRITE else before | pairs)


promise = given(contents, contents, st.sampled_from(OnConflict), errors)
test_every_run_ends_as_one_that_met_no_error = promise(every_run_ends_as_one_that_met_no_error)


async def _puts_blindly(self: Loader, kv: KeyValue) -> None:
    await self._client.put(kv.key, kv.value, timeout_s=self._timeout_s)
    self.loaded.written += 1


async def _forgets_to_compare(self: Loader, kv: KeyValue) -> None:
    done: Any = await self._client.compare_and_set(kv.key, kv.value, if_revision=0, timeout_s=self._timeout_s)
    self.loaded.written += done.succeeded
    self.loaded.already_there += not done.succeeded


@pytest.mark.parametrize("bug", [_puts_blindly, _forgets_to_compare])
def test_a_wrong_loader_breaks_its_promise(bug: Any) -> None:
    with replaced(loading.Loader, "_load_pair", bug), pytest.raises(BaseException) as caught:  # noqa: PT011
        promise(every_run_ends_as_one_that_met_no_error)()
    assert "AssertionError" in repr(caught.value)
