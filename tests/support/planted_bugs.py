"""Bugs to be found: each puts back a fault that the engine cures, or breaks one thing that it does right.

A simulation is worth nothing unless it can fail. Every bug is a context in which the shipped classes misbehave.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial

from replicator.core.log_clock import Reading, continued
from replicator.engine import arrivals, events
from replicator.engine.leading import forwards, log_time, proposals, read_index
from replicator.engine.leading.log_time import LogTime, Stamp
from replicator.engine.raft import group, guard, pump
from replicator.engine.raft import pre_vote as ballot
from replicator.engine.stock import journal
from replicator.engine.stock.graft import Graft
from replicator.machine import apply, digest
from replicator.model.causal_token import CausalToken
from replicator.model.ids import LogIndex
from replicator.model.members import MemberRole
from replicator.storage.layout import Header
from replicator.storage.reading import StoredReads
from replicator.storage.storage import Storage
from replicator.v1 import raft_pb2, store_pb2

Bug = Callable[[], AbstractContextManager[None]]


@contextmanager
def replaced(owner: object, name: str, bug: object) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, bug)
    try:
        yield
    finally:
        setattr(owner, name, original)


# Replication --------------------------------------------------------------------------------------------------------


def deletes_what_does_not_conflict() -> AbstractContextManager[None]:
    """Fault 1 put back: appends reach SyncObj as they are."""

    def as_it_is(self: guard.Guard, append, entries):  # type: ignore[no-untyped-def]
        self._answering = (append.sequence, entries[-1].index if entries else append.prev_index)
        return {
            "type": "append_entries", "term": append.term, "commit_index": append.commit_index, "entries": entries,
            "prevLogIdx": append.prev_index, "prevLogTerm": append.prev_term,
        }  # fmt: skip

    return replaced(guard.Guard, "_normalised", as_it_is)


def acknowledges_what_was_not_compared() -> AbstractContextManager[None]:
    """Fault 1, its other half: the whole tail is acknowledged."""
    original = guard.Guard._append_reply

    def whole_tail(self: guard.Guard, message):  # type: ignore[no-untyped-def]
        assert self._answering is not None
        self._answering = (self._answering[0], self._journal.last_index)
        return original(self, message)

    return replaced(guard.Guard, "_append_reply", whole_tail)


def commits_what_was_not_compared() -> AbstractContextManager[None]:
    """Fault 1, its third part: the leader's commit index is taken as it is."""
    original = guard.Guard._normalised

    def unbounded(self: guard.Guard, append, entries):  # type: ignore[no-untyped-def]
        message = original(self, append, entries)
        message["commit_index"] = append.commit_index
        return message

    return replaced(guard.Guard, "_normalised", unbounded)


def counts_acks_of_an_earlier_term() -> AbstractContextManager[None]:
    """Fault 2 put back: answers are believed in any term."""
    original = guard.Guard.append_reply

    def any_term(self: guard.Guard, peer, reply):  # type: ignore[no-untyped-def]
        if reply.term < self._graft.term and self._graft.is_leader:
            reply.term, reply.answers = self._graft.term, min(reply.answers, self._pump.progress[peer].sent)
            reply.next_index = min(reply.next_index, self._journal.last_index + 1)
        original(self, peer, reply)

    return replaced(guard.Guard, "append_reply", any_term)


def commits_entries_of_earlier_terms_by_counting() -> AbstractContextManager[None]:
    """Figure 8 of the Raft paper: every entry looks as if it were of the current term."""
    original = journal.TurnJournal.__getitem__

    def relabelled(self: journal.TurnJournal, item):  # type: ignore[no-untyped-def]
        found = original(self, item)
        if isinstance(item, slice) and item.stop is not None and len(found) == 1:
            entry = found[0]
            return [type(entry)(entry.payload, entry.index, self.hard_state.term)]
        return found

    return replaced(journal.TurnJournal, "__getitem__", relabelled)


def commits_with_a_minority() -> AbstractContextManager[None]:
    """What is sent counts as held."""
    original = pump.Pump._replicate

    def trusting(self: pump.Pump, peer, *, early):  # type: ignore[no-untyped-def]
        original(self, peer, early=early)
        self._graft.forget_match(peer, LogIndex(self._graft.next_index(peer) - 1))

    return replaced(pump.Pump, "_replicate", trusting)


def ignores_a_late_link() -> AbstractContextManager[None]:
    """Fault 12 put back: frames of superseded connections count."""
    original = arrivals.Arrivals.take

    def any_epoch(self: arrivals.Arrivals, event):  # type: ignore[no-untyped-def]
        if isinstance(event, events.Frame) and (epoch := self._core.links.epoch(event.peer)) is not None:
            event = events.Frame(event.peer, epoch, event.payload)
        return original(self, event)

    return replaced(arrivals.Arrivals, "take", any_epoch)


def believes_a_lower_commit_index() -> AbstractContextManager[None]:
    """A follower takes whatever commit index its leader names; a new leader does not know yet how far the last came."""
    original = guard.Guard.append_entries

    def takes_it(self: guard.Guard, peer, append):  # type: ignore[no-untyped-def]
        original(self, peer, append)
        engine = self._graft._engine
        if append.term == self._graft.term and append.commit_index:
            engine._SyncObj__raftCommitIndex = min(engine.raftCommitIndex, append.commit_index)

    return replaced(guard.Guard, "append_entries", takes_it)


# Elections ----------------------------------------------------------------------------------------------------------


def forgets_its_vote() -> AbstractContextManager[None]:
    original = journal.TurnJournal.take

    def without_vote(self: journal.TurnJournal):  # type: ignore[no-untyped-def]
        truncate_from, append, state = original(self)
        return truncate_from, append, replace(state, voted_for=None) if state is not None else None

    return replaced(journal.TurnJournal, "take", without_vote)


@contextmanager
def votes_for_a_log_that_lacks_entries() -> Iterator[None]:
    """Also in the round of questions before."""
    vote, answer = guard.Guard.request_vote, ballot.PreVotes.answer
    best = 1 << 40

    def for_anyone(self: guard.Guard, peer, request):  # type: ignore[no-untyped-def]
        vote(self, peer, raft_pb2.RequestVote(term=request.term, last_index=best, last_term=best))

    def to_anyone(self: ballot.PreVotes, peer, asked):  # type: ignore[no-untyped-def]
        answer(self, peer, raft_pb2.PreVote(term=asked.term, last_index=best, last_term=best))

    with replaced(guard.Guard, "request_vote", for_anyone), replaced(ballot.PreVotes, "answer", to_anyone):
        yield


def counts_a_voter_twice() -> AbstractContextManager[None]:
    """Stock counts messages."""

    def twice(self: guard.Guard, peer, reply):  # type: ignore[no-untyped-def]
        for _ in range(2):
            self._graft.receive(peer, {"type": "response_vote", "term": reply.term})

    return replaced(guard.Guard, "vote_reply", twice)


# Membership ---------------------------------------------------------------------------------------------------------


def counts_observers_as_voters() -> AbstractContextManager[None]:
    """Every replica counts in majorities."""
    original = group.Group._take

    def all_count(self: group.Group, membership):  # type: ignore[no-untyped-def]
        original(self, membership)
        self.other_voters = frozenset(self.others)

    return replaced(group.Group, "_take", all_count)


def votes_although_it_lost_its_disk() -> AbstractContextManager[None]:
    """A node that joins takes every membership that it meets in the log for its own."""

    def by_name(self: group.Group) -> bool:
        me = self.membership.get(self._node_id)
        return me is None or me.role is MemberRole.VOTER

    return replaced(group.Group, "is_voter", property(by_name))


def leads_on_after_its_removal() -> AbstractContextManager[None]:
    """A leader that applies its own removal goes on."""
    return replaced(Graft, "step_down", lambda self: None)


# State --------------------------------------------------------------------------------------------------------------


def evaluates_differently_on_one_node() -> AbstractContextManager[None]:
    """The store of n2 makes something else of the same entries; its rolling hash says so."""
    original, honest = Storage.apply, digest.rolling_hash

    def other(*of) -> bytes:  # type: ignore[no-untyped-def]
        return bytes(byte ^ 1 for byte in honest(*of))

    def evaluate(self: Storage, entries):  # type: ignore[no-untyped-def]
        with replaced(apply, "rolling_hash", other if self.path.name == "n2" else honest):
            return original(self, entries)

    return replaced(Storage, "apply", evaluate)


# Answers to callers -------------------------------------------------------------------------------------------------


def answers_before_the_commit() -> AbstractContextManager[None]:
    """Proposals are answered as soon as they are in the leader's log."""
    original = proposals.Proposals._append_entry

    def eager(self: proposals.Proposals) -> None:
        original(self)
        index = self._journal.last_index
        for _term, _size, waiting in list(self._waiting.values()):
            for proposal in waiting:
                proposal.sink(store_pb2.BatchOutcome(revisions=[1], index=index))

    return replaced(proposals.Proposals, "_append_entry", eager)


def answers_on_whatever_link_is_up() -> AbstractContextManager[None]:
    """Request ids start anew with a process: an answer to the one before it is taken for an answer to this one."""

    def one_link_for_ever(self: forwards.Forwards, peer):  # type: ignore[no-untyped-def]
        return partial(self._links.send_early, peer)

    return replaced(forwards.Forwards, "_on_this_link", one_link_for_ever)


def serves_reads_without_asking_a_quorum() -> AbstractContextManager[None]:
    return replaced(read_index.ReadIndexes, "_is_confirmed", lambda _self, _round: True)


def confirms_reads_by_what_was_sent_before_them() -> AbstractContextManager[None]:
    """Any answer counts, also one to an append that left before the read arrived."""
    original = read_index.ReadIndexes.open_round

    def backdated(self: read_index.ReadIndexes) -> None:
        original(self)
        for number, waiting in enumerate(self._rounds):
            sent = {peer: min(sequence, self._pump.progress[peer].acked) for peer, sequence in waiting.sent.items()}
            self._rounds[number] = waiting._replace(sent=sent)

    return replaced(read_index.ReadIndexes, "open_round", backdated)


def serves_reads_before_its_own_term_commits() -> AbstractContextManager[None]:
    return replaced(pump.Pump, "knows_commit_index", lambda self: self._graft.is_leader)


def claims_freshness_of_its_own_clock() -> AbstractContextManager[None]:
    """A follower believes that what it hears from a leader is as new as the moment of hearing it."""
    original = guard.Guard.append_entries

    def fresh_now(self: guard.Guard, peer, append):  # type: ignore[no-untyped-def]
        append.echo_clock_ms, append.quorum_age_ms = int(self._clock.monotonic_s() * 1000), 0
        original(self, peer, append)

    return replaced(guard.Guard, "append_entries", fresh_now)


def forgets_the_age_of_its_quorum() -> AbstractContextManager[None]:
    """A leader that was deposed without hearing of it calls itself fresh."""
    return replaced(
        pump.Pump, "quorum_contact_s", lambda self: self._clock.monotonic_s() if self.knows_commit_index() else None
    )


def merges_tokens_to_the_earlier() -> AbstractContextManager[None]:
    """What a session hears makes it forget what it has seen."""
    return replaced(CausalToken, "__le__", lambda self, other: self.index >= other.index)


def reads_its_data_file_only() -> AbstractContextManager[None]:
    """What is applied in memory is told to callers, and a read does not see it."""

    @contextmanager
    def stale(self: StoredReads):  # type: ignore[no-untyped-def]
        with self._environment.read() as txn:
            yield txn, (), Header.load(txn, self._databases)

    return replaced(StoredReads, "_applied_view", stale)


# Log time -----------------------------------------------------------------------------------------------------------


def trusts_the_calendar_that_it_begins_with() -> AbstractContextManager[None]:
    """Log time continues from a reading of the node's own calendar, not from the log, and stands still behind it."""

    def old_stamp(self: LogTime, _term):  # type: ignore[no-untyped-def]
        wall_ms, now_s = self._clock.wall_ms(), self._clock.monotonic_s()
        time_ms, read_s = vars(self).get("trusted", (wall_ms, now_s))
        time_ms = max(time_ms, min(wall_ms, time_ms + 2000 * (now_s - read_s)))
        vars(self)["trusted"] = time_ms, now_s
        return Stamp(max(1, int(time_ms)), 0)

    return replaced(LogTime, "stamp", old_stamp)


def loses_the_fraction_of_a_millisecond() -> AbstractContextManager[None]:
    """Each entry begins to count from a whole millisecond: little by little log time falls behind."""

    def rounded(last: Reading, *, wall_ms: int, now_s: float) -> Reading:
        return Reading(float(int(continued(last, wall_ms=wall_ms, now_s=now_s).time_ms)), now_s)

    return replaced(log_time, "continued", rounded)


def remembers_the_time_of_entries_that_are_gone() -> AbstractContextManager[None]:
    """What a truncation takes out of the log leaves its reading behind."""
    return replaced(LogTime, "_is_in_log", lambda _self, _noted: True)


def proposes_what_nobody_waits_for() -> AbstractContextManager[None]:
    """The queue looks neither at deadlines nor at callers that have given up."""
    return replaced(proposals.Proposal, "is_wanted", lambda _self, _now_s: True)
