"""Bugs to be found, of what must be on a disk before it is told, counted or applied. As planted_bugs.py has it."""

import os
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import lmdb

from replicator.engine import replica
from replicator.engine.raft import links, pump
from replicator.engine.stock import journal
from replicator.engine.stock.graft import Graft
from replicator.engine.write_behind import WriteBehind
from replicator.model.ids import LogIndex, Term
from replicator.model.log import Entry, TurnWrite
from replicator.storage import opening
from replicator.storage import storage as front
from replicator.storage.applied_state import AppliedState
from replicator.storage.data_directory import locking
from replicator.storage.log import scanning
from replicator.storage.log.raft_log import RaftLog, remove_other_logs
from replicator.storage.log.turn_format import RECORD_HEAD_BYTES, TURN_HEAD_BYTES, Kind, Record, TurnHead
from replicator.storage.reading import StoredReads
from replicator.storage.snapshots import installing
from replicator.storage.snapshots.installing import Held
from tests.support.planted_bugs import replaced


def skips_the_sync_of_the_log() -> AbstractContextManager[None]:
    """Entries are sent and acknowledged, and never reach the disk unless they are applied there."""
    original = replica.Replica.turn
    held: dict[int, TurnWrite] = {}

    def without_log(self: replica.Replica, events):  # type: ignore[no-untyped-def]
        turn = original(self, events)
        write = held.pop(id(self), TurnWrite())
        cut = turn.write.truncate_from
        kept = tuple(e for e in write.append if cut is None or e.index < cut)
        new_cut = cut if write.truncate_from is None else min(filter(None, (cut, write.truncate_from)))
        merged = TurnWrite(
            new_cut, (*kept, *turn.write.append), turn.write.hard_state or write.hard_state, turn.write.apply
        )
        if not merged.apply:
            held[id(self)] = merged
            merged = TurnWrite()
        object.__setattr__(turn, "write", merged)
        return turn

    return replaced(replica.Replica, "turn", without_log)


def opens_its_data_without_sync() -> AbstractContextManager[None]:
    """LMDB is told not to sync: kill -9 shows nothing of it, a power failure does."""
    return replaced(lmdb, "open", partial(lmdb.open, sync=False))


def opens_its_log_without_sync() -> AbstractContextManager[None]:
    """A turn is answered before the log's write has reached the disk: kill -9 shows nothing of it either."""
    return replaced(os, "O_DSYNC", 0)


def takes_a_torn_turn_for_a_whole_one() -> AbstractContextManager[None]:
    """What a crash left of the last turn is read without a look at checksums."""

    def unchecked(data: bytes, at: int, head: TurnHead) -> list[Record]:
        found, place = [], at + TURN_HEAD_BYTES
        while place + RECORD_HEAD_BYTES <= at + TURN_HEAD_BYTES + head.records_bytes:
            kind, size, index, term, checksum = struct.unpack_from(">BIQQI", data, place)
            if kind not in set(Kind):
                break
            place += RECORD_HEAD_BYTES
            payload = data[place : place + size]
            found.append(Record(Kind(kind), LogIndex(index), Term(term), place, payload, checksum))
            place += size
        return found

    return replaced(scanning, "unpack_records", unchecked)


def lets_the_log_go_before_the_state_is_stored() -> AbstractContextManager[None]:
    """What is applied in memory counts as stored, so segments and entries that a restart needs are deleted."""
    return replaced(StoredReads, "stored_index", lambda self: self.applied_position.applied_index)


@contextmanager
def removes_the_old_log_before_the_new_data_are_named() -> Iterator[None]:
    """An installation that does not get to its end leaves data without a log."""
    original = installing.begin_log

    @contextmanager
    def alone(data_dir: Path, log_id: bytes, held: Held, head: Entry) -> Iterator[RaftLog]:
        with original(data_dir, log_id, held, head) as log:
            remove_other_logs(data_dir, log_id)
            yield log

    with replaced(front, "begin_log", alone):
        yield


def never_syncs_directories() -> AbstractContextManager[None]:
    """Files that are made, renamed or removed may still be missing, or there, after a power failure."""
    return replaced(locking, "sync_directory", lambda _path: None)


@contextmanager
def installs_what_it_has_not_synced() -> Iterator[None]:
    """Neither as it is sealed nor as it is opened to take the place of the old data."""
    with replaced(installing, "sync_file", lambda _file: None), replaced(opening, "os", _NeverSyncs()):
        yield


class _NeverSyncs:
    """The module `os`, but for this."""

    def __getattr__(self, name: str) -> object:
        return (lambda _fd: None) if name == "fsync" else getattr(os, name)


def flushes_ahead_of_its_log() -> AbstractContextManager[None]:
    """The state on disk holds entries that the log on this disk does not say to be committed."""

    def at_once(self: AppliedState) -> None:
        is_asked = self._position.applied_index < self._asked_index
        if self._layers.frozen is None and self._layers.open.entry_count and is_asked:
            self._layers.freeze()

    return replaced(AppliedState, "_freeze_if_due", at_once)


def sends_before_the_commit() -> AbstractContextManager[None]:
    """Everything that a turn says leaves early: acknowledgements, votes, requests for votes."""
    return replaced(links.Links, "send", links.Links.send_early)


def acknowledges_before_its_commit() -> AbstractContextManager[None]:
    """A follower's answers to appends leave early."""
    original = links.Links.send

    def at_once(self: links.Links, peer, message):  # type: ignore[no-untyped-def]
        (self.send_early if message.WhichOneof("body") == "append_reply" else partial(original, self))(peer, message)

    return replaced(links.Links, "send", at_once)


def applies_what_its_disk_does_not_hold() -> AbstractContextManager[None]:
    """What is only in memory counts as durable: a follower applies entries in the turn in which they arrive."""
    return replaced(journal.TurnJournal, "durable_index", property(lambda self: self.last_index))


@contextmanager
def counts_itself_before_its_disk() -> Iterator[None]:
    """A leader commits an entry in the turn in which it is appended; alone, it is its own majority."""

    def twice(self: Graft) -> None:
        for _ in range(2):
            self._engine.doTick(0.0)

    with applies_what_its_disk_does_not_hold(), replaced(Graft, "tick", twice):
        yield


def sends_appends_in_a_term_that_is_not_on_its_disk() -> AbstractContextManager[None]:
    """Seen where a leader is elected by its own vote alone: it leads in the turn in which it votes."""
    return replaced(pump.Pump, "_may_speak_early", lambda _self: True)


def applies_again_after_a_restart() -> AbstractContextManager[None]:
    original = Graft.__init__

    def from_one_earlier(self, settings, *, applied_index, **rest):  # type: ignore[no-untyped-def]
        original(self, settings, applied_index=max(0, applied_index - 1), **rest)

    return replaced(Graft, "__init__", from_one_earlier)


def lets_entries_and_votes_wait() -> AbstractContextManager[None]:
    """All that a turn decides counts as something that a later commit may take along."""
    return replaced(WriteBehind, "_claims", lambda _self, _write: False)


def lets_changes_of_the_group_wait() -> AbstractContextManager[None]:
    """A turn counts by a membership that is applied in memory only."""
    original = WriteBehind._claims
    return replaced(WriteBehind, "_claims", lambda self, write: original(self, replace(write, apply=())))
