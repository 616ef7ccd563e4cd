"""The shipped engine under simulated faults: no promise broken; and the simulation can see when one is."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from chaos.simulation.world import Scenario, Verdict, simulate
from replicator.engine import guard, journal, proposals, pump, read_index, replica
from replicator.engine.graft import Graft
from replicator.model.log import TurnWrite

SEEDS = range(0, 6)


def broken_seeds(scenario: Scenario, seeds: range) -> list[Verdict]:
    return [verdict for seed in seeds if (verdict := simulate(seed, scenario)).violation]


@pytest.mark.parametrize(("nodes", "profile"), [(3, "wan"), (5, "wan"), (1, "lan")])
def test_no_promise_is_broken_under_faults(nodes: int, profile: str) -> None:
    """Election safety, state machine safety, no acknowledged write lost or applied twice, reads, convergence."""
    broken = broken_seeds(Scenario(nodes=nodes, profile=profile), SEEDS)
    assert broken == [], f"replay: python -m chaos simulate --seeds SEED --nodes {nodes} --profile {profile}"


def test_one_seed_is_one_run() -> None:
    """Two runs of a seed agree in everything that every node applied, and when."""
    assert simulate(7, Scenario()) == simulate(7, Scenario())


@contextmanager
def replaced(owner: type, name: str, bug: object) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, bug)
    try:
        yield
    finally:
        setattr(owner, name, original)


def acks_its_whole_tail() -> AbstractContextManager[None]:
    """Fault 1 put back: appends reach SyncObj as they are, and the whole tail is acknowledged."""

    def as_it_is(self: guard.Guard, append, entries):  # type: ignore[no-untyped-def]
        self._answering = (append.sequence, entries[-1].index if entries else append.prev_index)
        return {
            "type": "append_entries", "term": append.term, "commit_index": append.commit_index, "entries": entries,
            "prevLogIdx": append.prev_index, "prevLogTerm": append.prev_term,
        }  # fmt: skip

    return replaced(guard.Guard, "_normalised", as_it_is)


def forgets_its_vote() -> AbstractContextManager[None]:
    original = journal.TurnJournal.take

    def without_vote(self: journal.TurnJournal):  # type: ignore[no-untyped-def]
        truncate_from, append, state = original(self)
        if state is not None:
            state = type(state)(state.term, None, state.commit_index)
        return truncate_from, append, state

    return replaced(journal.TurnJournal, "take", without_vote)


def answers_before_the_commit() -> AbstractContextManager[None]:
    """Proposals are answered as soon as they are in the leader's log."""
    original = proposals.Proposals._append_entry

    def eager(self: proposals.Proposals) -> None:
        from replicator.v1 import store_pb2

        original(self)
        index = self._journal.last_index
        for _term, _size, waiting in list(self._waiting.values()):
            for proposal in waiting:
                proposal.sink(store_pb2.Outcome(status=store_pb2.Outcome.STATUS_APPLIED, revision=1, index=index))

    return replaced(proposals.Proposals, "_append_entry", eager)


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


def serves_reads_without_asking_a_quorum() -> AbstractContextManager[None]:
    return replaced(read_index.ReadIndexes, "_is_confirmed", lambda _self, _round: True)


def serves_reads_before_its_own_term_commits() -> AbstractContextManager[None]:
    return replaced(pump.Pump, "knows_commit_index", lambda self: self._graft.is_leader)


def counts_a_voter_twice() -> AbstractContextManager[None]:
    def twice(self: guard.Guard, peer, reply):  # type: ignore[no-untyped-def]
        for _ in range(2):
            self._graft.receive(peer, {"type": "response_vote", "term": reply.term})

    return replaced(guard.Guard, "vote_reply", twice)


def applies_again_after_a_restart() -> AbstractContextManager[None]:
    original = Graft.__init__

    def from_one_earlier(self, settings, *, applied_index, **rest):  # type: ignore[no-untyped-def]
        original(self, settings, applied_index=max(0, applied_index - 1), **rest)

    return replaced(Graft, "__init__", from_one_earlier)


def claims_freshness_of_its_own_clock() -> AbstractContextManager[None]:
    """A follower believes that what it hears from a leader is as new as the moment of hearing it."""
    original = guard.Guard.append_entries

    def fresh_now(self: guard.Guard, peer, append):  # type: ignore[no-untyped-def]
        append.echo_clock_ms, append.quorum_age_ms = int(self._clock.monotonic_s() * 1000), 0
        original(self, peer, append)

    return replaced(guard.Guard, "append_entries", fresh_now)


BUGS: list[Callable[[], AbstractContextManager[None]]] = [
    acks_its_whole_tail,
    forgets_its_vote,
    answers_before_the_commit,
    skips_the_sync_of_the_log,
    serves_reads_without_asking_a_quorum,
    serves_reads_before_its_own_term_commits,
    counts_a_voter_twice,
    applies_again_after_a_restart,
    claims_freshness_of_its_own_clock,
]
CAUGHT_WITHIN_SEEDS = 20
FIRST_SEED = {
    # A write must be acknowledged elsewhere within a deposed leader's last half second: rare, so it begins near one.
    "serves_reads_without_asking_a_quorum": 20,
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_caught(bug: Callable[[], AbstractContextManager[None]]) -> None:
    """The simulation is worth nothing unless it can fail."""
    with bug():
        first = FIRST_SEED.get(bug.__name__, 0)
        for seed in range(first, first + CAUGHT_WITHIN_SEEDS):
            if simulate(seed, Scenario(nodes=3 if seed % 2 else 5)).violation:
                return
    pytest.fail(f"not caught within {CAUGHT_WITHIN_SEEDS} seeds")
