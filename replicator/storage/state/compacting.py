"""Deletes what no read can ask for any more, a bounded step at a time, behind the header's compacted revision.

As etcd does it: of each key, the newest change at or before that revision stays, unless it is a deletion; a deletion
exactly at it stays too, until the next compaction. The header moves when the command is applied, in the order of the
log; what is deleted, and when, is each node's own business, since no read goes back that far.
"""

from typing import Final

from replicator.machine.store_port import DELETED
from replicator.model.ids import Revision
from replicator.storage.layout import COMPACTION_KEY, Databases, Transaction
from replicator.storage.state.keys import stored_key, superseded_prefix
from replicator.storage.state.records import (
    Change,
    pack_revision,
    unpack_change,
    unpack_record,
    unpack_revision,
)

_WHOLE: Final = (1 << 32) - 1  # in place of a sub-revision: all changes of the revision were looked at
COMPACT_CHANGES_MAX: Final = 1024  # looked at in one step, so that a commit takes no longer for it


def compact_step(txn: Transaction, databases: Databases, to: Revision) -> bool:
    """Goes on from where the last step ended. True if more is left to do. Raises CorruptData."""
    done = txn.get(COMPACTION_KEY, db=databases.meta) or pack_revision(0, 0)
    main, sub = unpack_revision(done)
    if (main, sub) >= (to, _WHOLE):
        return False
    # A deletion at the end of the compaction before may be due only now.
    changes = _changes_from(txn, databases, pack_revision(main, 0) if sub == _WHOLE else done, to)
    for number, change in changes:
        _forget(txn, databases, number, change, to)
    more = len(changes) > COMPACT_CHANGES_MAX
    txn.put(COMPACTION_KEY, changes[-1][0] if more else pack_revision(to, _WHOLE), db=databases.meta)
    return more


def _changes_from(txn: Transaction, databases: Databases, first: bytes, to: Revision) -> list[tuple[bytes, Change]]:
    """At most one more than a step has, so that a step always gets on."""
    changes: list[tuple[bytes, Change]] = []
    with txn.cursor(db=databases.changes) as cursor:
        found = cursor.set_range(first)
        while found and len(changes) <= COMPACT_CHANGES_MAX and unpack_revision(cursor.key())[0] <= to:
            changes.append((cursor.key(), unpack_change(cursor.key(), cursor.value())))
            found = cursor.next()
    return changes


def _forget(txn: Transaction, databases: Databases, number: bytes, change: Change, to: Revision) -> None:
    stored = stored_key(change.key)
    if change.superseded != (0, 0):
        older = pack_revision(*change.superseded)
        txn.delete(older, db=databases.changes)
        txn.delete(superseded_prefix(stored) + older, db=databases.superseded)
    if change.flags & DELETED and unpack_revision(number)[0] < to:
        txn.delete(number, db=databases.changes)
        newest = txn.get(stored, db=databases.index)
        if newest is not None and pack_revision(*unpack_record(newest)[:2]) == number:
            txn.delete(stored, db=databases.index)
        else:
            txn.delete(superseded_prefix(stored) + number, db=databases.superseded)
