"""Changes in the order of their revisions, from memory and from disk; whole revisions, or parts that say so."""

from dataclasses import replace

import pytest

from replicator.model.errors import Compacted, CorruptData
from replicator.model.ids import LogIndex, Revision, Term
from replicator.model.log import HardState, TurnWrite
from replicator.model.values import KeyValue
from replicator.storage import Storage
from replicator.storage.layout import Header, Transaction
from replicator.storage.state.flush import flush
from replicator.storage.state.history import ChangesPage
from replicator.storage.state.layers import Layer
from replicator.storage.state.store import LayeredStore
from tests.support.commands import a_turn, an_entry, compact, delete, put


def page(storage: Storage, first: tuple[int, int], **bounds: int) -> ChangesPage:
    bounds = {"examined_max": 1000, "bytes_max": 1 << 20} | bounds
    return storage.changes(first, lambda _key, _is_delete: True, with_previous=True, **bounds)


def places(found: ChangesPage) -> list[tuple[int, int, bytes]]:
    return [(change.revision, change.position, change.key) for change in found.changes]


def a_transaction(storage: Storage, revision: int, *keys: bytes) -> None:
    """Changes that share a revision, straight into the data file."""

    def write(txn: Transaction) -> None:
        header = Header.load(txn, storage._databases)
        layer = Layer(replace(header, revision=Revision(revision)))
        store = LayeredStore(txn, storage._databases, layer)
        for position, key in enumerate(keys):
            store.put_change(key, b"v", (revision, position, revision, 1, 0, 0, 1), store.find(key), 1)
        flush(txn, storage._databases, layer)

    storage._environment.write(write)


def test_history_is_read_in_order_and_shows_what_was_before(storage: Storage) -> None:
    storage.commit(a_turn(an_entry(1, put(b"a", b"1"), put(b"b", b"2")), an_entry(2, put(b"a", b"3"), delete(b"b"))))
    storage.flush()
    found = page(storage, (1, 0))

    assert places(found) == [(1, 0, b"a"), (2, 0, b"b"), (3, 0, b"a"), (4, 0, b"b")]
    assert [change.previous for change in found.changes] == [
        None, None, KeyValue(b"a", b"1", 1, 1, 1), KeyValue(b"b", b"2", 2, 2, 1),
    ]  # fmt: skip
    assert [change.is_delete for change in found.changes] == [False, False, False, True]
    assert (found.following, found.revision, found.stored_revision, found.applied_index) == ((5, 0), 4, 4, 2)


def test_a_page_ends_at_its_bounds_and_the_next_goes_on(storage: Storage) -> None:
    storage.commit(a_turn(an_entry(1, *(put(b"k%d" % number, b"x" * 10) for number in range(10)))))
    storage.flush()
    for bounds in ({"examined_max": 3}, {"bytes_max": 30}):
        first, seen = (1, 0), []
        while first != (11, 0):
            found = page(storage, first, **bounds)
            assert 1 <= len(found.changes) <= 3
            seen += places(found)
            first = found.following
        assert seen == [(number, 0, b"k%d" % (number - 1)) for number in range(1, 11)]


def test_memory_holds_what_no_flush_has_written(storage: Storage) -> None:
    storage.commit(a_turn(an_entry(1, put(b"a"))))
    storage.flush()
    entries = (an_entry(2, put(b"b"), put(b"c")), an_entry(3, put(b"a", b"2")))
    storage.commit(TurnWrite(append=entries, hard_state=HardState(Term(1), None, LogIndex(3))))
    storage.apply(entries)
    recent = storage.recent_changes(Revision(2), count_max=100)

    assert storage.recent_changes(Revision(1), count_max=100) is None, "flushed: it is in the data file only"
    assert recent is not None
    assert [[change.key for change in whole] for whole in recent.changes] == [[b"b"], [b"c"], [b"a"]]
    assert (recent.revision, recent.applied_index) == (4, 3)
    change = recent.changes[-1][0]
    assert storage.previous_pair(change) == KeyValue(b"a", b"v", 1, 1, 1)
    first = storage.recent_changes(Revision(2), count_max=1)
    assert first is not None
    assert (len(first.changes), first.revision) == (1, 2)
    future = storage.recent_changes(Revision(5), count_max=1)
    assert future is not None
    assert (future.changes, future.revision) == ((), 4)


@pytest.mark.parametrize("bounds", [{"examined_max": 2}, {"bytes_max": 4}])
def test_a_revision_is_split_only_where_it_fills_a_page_alone(storage: Storage, bounds: dict[str, int]) -> None:
    storage.commit(a_turn(an_entry(1, put(b"a"), put(b"z"))))
    storage.flush()
    a_transaction(storage, 3, *(b"%d" % number for number in range(5)))
    first, pages = (1, 0), []
    while first != (4, 0):
        found = page(storage, first, **bounds)
        pages.append(places(found))
        first = found.following

    assert pages[0] == [(1, 0, b"a"), (2, 0, b"z")]
    assert [place for found in pages[1:] for place in found] == [(3, place, b"%d" % place) for place in range(5)]
    assert len(pages) == 4, "two, two, one"


def test_history_before_the_compacted_revision_is_refused_and_the_rest_is_whole(storage: Storage) -> None:
    storage.commit(a_turn(an_entry(1, *(put(b"a", b"%d" % number) for number in range(5)), delete(b"a"), put(b"b"))))
    storage.commit(a_turn(an_entry(2, compact(6))))
    storage.flush()

    with pytest.raises(Compacted) as caught:
        page(storage, (5, 0))
    assert caught.value.metadata == {"revision": "5", "compacted_revision": "6"}
    assert places(page(storage, (6, 0))) == [(6, 0, b"a"), (7, 0, b"b")]
    assert page(storage, (6, 0)).changes[0].previous is None, "what it was is compacted"


def test_a_hole_in_history_is_found_and_never_skipped(storage: Storage) -> None:
    storage.commit(a_turn(an_entry(1, put(b"a"), put(b"b"), put(b"c"))))
    storage.flush()
    number = b"\x00" * 7 + b"\x02" + b"\x00" * 4
    storage._environment.write(lambda txn: txn.delete(number, db=storage._databases.changes))

    for first in ((1, 0), (2, 0)):
        with pytest.raises(CorruptData, match="after change"):
            page(storage, first)
