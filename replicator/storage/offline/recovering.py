"""Founds a new group from one node's data, when a majority of the old one is lost for good.

All that the log holds beyond the commit index is applied as if it were committed: an acknowledged write may be there,
because a follower learns of a commit only with the next append (Consul recovers in the same way). Then one entry more
says who belongs to the new group: this node alone, under a founder and a secret that no node of the old group knows.
That entry becomes the head of the log, so nothing that was in the old log, forged or not, can act any more.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import lmdb

from replicator.machine.apply import apply_entry
from replicator.machine.codec import decode_entry, is_no_op
from replicator.machine.group_entries import decode_group_change, encode_membership, membership_of
from replicator.model.errors import CorruptData, DataDirectoryError, StorageFailed
from replicator.model.ids import ClusterId, LogIndex, NodeId, Revision, Term
from replicator.model.limits import INDEX_MAX, TERM_MAX
from replicator.model.log import Entry, HardState
from replicator.model.members import DIRECTORY_ID_BYTES, GROUP_SECRET_BYTES, Member, MemberRole, Membership
from replicator.storage.env import Environment
from replicator.storage.failures import DiskFull
from replicator.storage.layout import (
    DIRECTORY_ID_KEY,
    JOINING_KEY,
    LOG_ID_KEY,
    MEMBERSHIP_KEY,
    SUPERSEDED_KEY,
    Databases,
    Header,
    Transaction,
)
from replicator.storage.log.raft_log import RaftLog, new_log_id, remove_other_logs
from replicator.storage.offline.offline_store import opened_offline
from replicator.storage.opening import Identity, check_identity, damaged, log_id_of, open_environment
from replicator.storage.state.applied_entry import load_applied
from replicator.storage.state.flush import flush, keep_only_digest_of
from replicator.storage.state.layers import Layer
from replicator.storage.state.store import LayeredStore
from replicator.v1 import store_pb2

_FIRST_INDEX: Final = 1  # every log of a new group begins with an entry of term 0, which nobody was elected for
_TERM_CONTINUED_MAX: Final = TERM_MAX // 2  # a greater one is no honest work; the new group's terms begin anew then


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a recovery does, or did. applied_index, revision, live_keys: of the data before it.

    commit_index: up to which the node knew entries to be committed. end_index: the last entry of the old log that is
    applied. last_index: where that log ends. stopped_by: why the entries after end_index are dropped; None if there are
    none. founding_index, term: of the entry that founds the new group. members: of the old group, as this node knew it,
    empty if it never heard. superseded: why the directory must not act; None if it may.
    """

    applied_index: LogIndex
    revision: Revision
    live_keys: int
    commit_index: LogIndex
    end_index: LogIndex
    last_index: LogIndex
    stopped_by: str | None
    term: Term
    members: tuple[NodeId, ...]
    superseded: str | None

    @property
    def founding_index(self) -> LogIndex:
        return LogIndex(self.end_index + 1)


def foresee(path: Path, cluster_id: ClusterId, node_id: NodeId) -> Recovery:
    """What `recover` would do. Writes nothing. Raises DataDirectoryError if it would refuse."""
    with opened_offline(path, verified=True) as store:
        txn, databases, log = store.view
        check_identity(path, txn, databases, cluster_id, node_id)
        return _examine(path, txn, databases, log)


def recover(
    path: Path,
    cluster_id: ClusterId,
    me: Member,
    *,
    size_max_bytes: int,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> Recovery:
    """Does it: makes a new log, then, in one durable transaction, the state that names it.

    Killed at any point, the directory holds the old log and state or the new.

    me: this node's region and addresses. random_bytes: for founder, directory id and secret. May be repeated: each time
    founds another group. Raises DataDirectoryError; then nothing is changed, but that one more run is counted.
    """
    path = Path(os.path.realpath(path))
    foresee(path, cluster_id, me.node_id)
    identity = Identity(cluster_id, me.node_id, lambda: random_bytes(DIRECTORY_ID_BYTES), recovering=True)
    environment = open_environment(path, size_max_bytes, identity)
    # A new id, so that nothing that is remembered anywhere of the old directory, or of a copy of it, is about this one.
    directory_id = random_bytes(DIRECTORY_ID_BYTES)
    member = replace(me, role=MemberRole.VOTER, directory_id=directory_id)
    group = Membership(LogIndex(0), (member,), directory_id, random_bytes(GROUP_SECRET_BYTES))

    try:
        return _recover(environment, group)
    except DiskFull as error:
        raise DataDirectoryError(f"{path}: no room for the recovery ({error}); make room, then repeat it") from error
    except (StorageFailed, lmdb.Error, AssertionError) as error:
        raise DataDirectoryError(damaged(path, f"{type(error).__name__}: {error}")) from error
    finally:
        environment.close()


def _recover(environment: Environment, group: Membership) -> Recovery:
    databases, log_id = environment.opened().databases, new_log_id()
    with environment.read() as txn:
        old_id = log_id_of(txn, databases)
        log = RaftLog.open(environment.path, old_id, writable=False)
        recovery = _examine(environment.path, txn, databases, log)
    founding = Entry(encode_membership(group), recovery.founding_index, recovery.term)
    try:
        RaftLog.create(environment.path, log_id, HardState(founding.term, None, founding.index), founding).close()

        def found(txn: Transaction) -> None:
            _found(txn, databases, log, founding)
            txn.put(LOG_ID_KEY, log_id, db=databases.meta)
            txn.put(DIRECTORY_ID_KEY, group.founder, db=databases.meta)

        environment.write(found)
    except DiskFull:
        remove_other_logs(environment.path, old_id)
        raise
    finally:
        log.close()
    remove_other_logs(environment.path, log_id)
    return recovery


def _found(txn: Transaction, databases: Databases, log: RaftLog, founding: Entry) -> None:
    """All of the old log that is of use, and the entry that founds the new group. Founder and log id are noted too."""
    layer = Layer(Header.load(txn, databases))
    store = LayeredStore(txn, databases, layer)
    for index in range(layer.header.applied_index + 1, founding.index):
        entry = log.entry_at(LogIndex(index))
        assert entry is not None, f"entry {index}"
        apply_entry(store, entry)
    apply_entry(store, founding)
    layer.note(founding)
    flush(txn, databases, layer)
    keep_only_digest_of(txn, databases, founding.index)
    for mark in (SUPERSEDED_KEY, JOINING_KEY):
        txn.delete(mark, db=databases.meta)
    txn.drop(databases.incarnations, delete=False)


def _examine(path: Path, txn: Transaction, databases: Databases, log: RaftLog) -> Recovery:
    header = Header.load(txn, databases)
    last_index = log.last_index()
    if not header.applied_index and not last_index:
        raise DataDirectoryError(f"{path}: holds nothing to recover: this node has never heard of a group")
    commit_index = _known_commit(log, header.applied_index)
    end_index, term, stopped_by = header.applied_index, _term_of(txn, databases, header.applied_index), None
    membership, why = (txn.get(key, db=databases.meta) for key in (MEMBERSHIP_KEY, SUPERSEDED_KEY))
    members = () if membership is None else _members_of(store_pb2.Membership.FromString(membership))
    while end_index < last_index and stopped_by is None:
        entry, stopped_by = _usable(log, LogIndex(end_index + 1), term, commit_index)
        if entry is not None:
            end_index, term = entry.index, entry.term
            change = decode_group_change(entry.payload)
            if change is not None and change.HasField("membership"):
                members = _members_of(change.membership)
    stopped_by = stopped_by or log.damage
    return Recovery(
        applied_index=header.applied_index,
        revision=header.revision,
        live_keys=header.live_keys,
        commit_index=LogIndex(min(commit_index, end_index)),
        end_index=end_index,
        last_index=LogIndex(max(last_index, end_index)),
        stopped_by=stopped_by,
        term=Term(term + 1 if term < _TERM_CONTINUED_MAX else 1),
        members=members,
        superseded=None if why is None else why.decode("utf-8", "replace"),
    )


def _members_of(stored: store_pb2.Membership) -> tuple[NodeId, ...]:
    return tuple(member.node_id for member in membership_of(stored).members)


def _known_commit(log: RaftLog, applied_index: LogIndex) -> LogIndex:
    """A hard state with numbers out of range says nothing."""
    state = log.hard_state()
    if state.term > TERM_MAX or state.commit_index > INDEX_MAX:
        return applied_index
    return max(state.commit_index, applied_index)


def _term_of(txn: Transaction, databases: Databases, index: LogIndex) -> Term:
    """Of the entry applied last; 0 if there is none, or it is damaged or out of range."""
    try:
        entry = load_applied(txn, databases, index)
    except CorruptData:
        return Term(0)
    return entry.term if entry.term <= TERM_MAX else Term(0)


def _usable(
    log: RaftLog, index: LogIndex, term_before: Term, commit_index: LogIndex
) -> tuple[Entry, None] | tuple[None, str]:
    """The entry, or why the log is of no use from there on.

    One that does not decode is applied all the same if it is known to be committed: every node did nothing with it.
    """
    try:
        entry = log.entry_at(index)
    except CorruptData as damage:
        return None, str(damage)
    if entry is None:
        return None, log.damage or f"entry {index} is missing"
    term_min = 0 if index == _FIRST_INDEX else max(1, term_before)
    if not term_min <= entry.term <= TERM_MAX:
        return None, f"entry {index} has term {entry.term}, after term {term_before}"
    if index > commit_index and not _decodes(entry.payload):
        return None, f"entry {index} does not decode"
    return entry, None


def _decodes(payload: bytes) -> bool:
    return is_no_op(payload) or decode_entry(payload) is not None or decode_group_change(payload) is not None
