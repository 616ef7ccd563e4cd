"""Runs of data directories: how often this one was opened, and the newest run of each other node that was linked.

Both belong to the node. They are in no snapshot, and stay when one is installed.
"""

from dataclasses import dataclass, replace
from typing import Final

from google.protobuf.message import DecodeError

from replicator.machine.group_entries import membership_of
from replicator.model.errors import CorruptData
from replicator.model.ids import NodeId
from replicator.model.incarnation import Incarnation, KnownIncarnation
from replicator.model.members import MEMBERS_MAX
from replicator.storage.layout import (
    INCARNATION_KEY,
    MEMBERSHIP_KEY,
    Databases,
    Transaction,
    pack_number,
    unpack_number,
)
from replicator.v1 import store_pb2

KNOWN_MAX: Final = 4 * MEMBERS_MAX  # rows kept: of all members, and of some that were


@dataclass(frozen=True, slots=True)
class Table:
    """All rows as they are stored, to be carried over to other data."""

    rows: tuple[tuple[bytes, bytes], ...] = ()

    @classmethod
    def load(cls, txn: Transaction, databases: Databases) -> "Table":
        """What `txn` sees."""
        with txn.cursor(db=databases.incarnations) as cursor:
            return cls(tuple(cursor.iternext()))

    def store(self, txn: Transaction, databases: Databases) -> None:
        """In place of what is there."""
        txn.drop(databases.incarnations, delete=False)
        for key, value in self.rows:
            txn.put(key, value, db=databases.incarnations)


def number_held(txn: Transaction, databases: Databases) -> int:
    """How often the directory was opened; 0 if it is new."""
    data = txn.get(INCARNATION_KEY, db=databases.meta)
    return 0 if data is None else unpack_number(data)


def count_run(txn: Transaction, databases: Databases) -> int:
    """One more, and how many that makes."""
    number = number_held(txn, databases) + 1
    store_number(txn, databases, number)
    return number


def store_number(txn: Transaction, databases: Databases, number: int) -> None:
    txn.put(INCARNATION_KEY, pack_number(number), db=databases.meta)


def known(txn: Transaction, databases: Databases, node_id: NodeId) -> KnownIncarnation | None:
    """The newest run of that node; None if none was noted. Raises CorruptData."""
    data = txn.get(node_id.encode(), db=databases.incarnations)
    if data is None:
        return None
    try:
        stored = store_pb2.StoredIncarnation.FromString(data)
    except DecodeError:
        raise CorruptData(f"the incarnation of {node_id} does not decode") from None
    return KnownIncarnation(stored.directory_id, Incarnation(stored.number, stored.run_id), stored.is_of_group)


def note(txn: Transaction, databases: Databases, node_id: NodeId, newest: KnownIncarnation) -> None:
    """Keeps the later run of two of one directory, and what any of them has proven.

    A full table loses a node that is no member, for one that is new.
    """
    held = known(txn, databases, node_id)
    if held is None:
        _make_room(txn, databases)
    elif held.directory_id == newest.directory_id:
        later = newest if newest.incarnation.number > held.incarnation.number else held
        newest = replace(later, is_of_group=held.is_of_group or newest.is_of_group)
    row = store_pb2.StoredIncarnation(
        directory_id=newest.directory_id,
        number=newest.incarnation.number,
        run_id=newest.incarnation.run_id,
        is_of_group=newest.is_of_group,
    )
    txn.put(node_id.encode(), row.SerializeToString(), db=databases.incarnations)


def _make_room(txn: Transaction, databases: Databases) -> None:
    surplus = int(txn.stat(databases.incarnations)["entries"]) + 1 - KNOWN_MAX
    if surplus <= 0:
        return
    members = _members(txn, databases)
    with txn.cursor(db=databases.incarnations) as cursor:
        names = list(cursor.iternext(values=False))
    others = [name for name in names if name not in members]
    assert len(others) >= surplus, f"{len(names)} rows, {len(members)} members"
    for name in others[:surplus]:
        txn.delete(name, db=databases.incarnations)


def _members(txn: Transaction, databases: Databases) -> set[bytes]:
    data = txn.get(MEMBERSHIP_KEY, db=databases.meta)
    if data is None:
        return set()
    membership = membership_of(store_pb2.Membership.FromString(data))
    return {member.node_id.encode() for member in membership.members}
