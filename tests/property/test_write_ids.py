"""Honest clients over a network that loses, reorders and repeats; and somebody who has learned a client id."""

import random
from collections import deque
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.machine.outcomes import APPLIED
from replicator.model.limits import SESSION_FLOOR_STEP_MAX, SESSION_RESULTS_MAX
from tests.support.commands import Outcome, applied, by, put
from tests.support.memory_store import MemoryStore

IN_FLIGHT_MAX = 4


@dataclass
class Write:
    """One write of an honest client. sent: as it was first sent; a retry repeats those bytes."""

    sequence: int
    value: bytes
    sent: bytes = b""
    answers: list[Outcome] = field(default_factory=list)


@dataclass
class HonestClient:
    """Names its writes as client/write_window.py does: what has ended is released, whatever its end."""

    number: int
    sequence: int = 0
    pending: dict[int, Write] = field(default_factory=dict)
    ended: list[Write] = field(default_factory=list)

    def begin(self) -> Write:
        self.sequence += 1
        write = Write(self.sequence, b"%d of %d" % (self.sequence, self.number))
        self.pending[write.sequence] = write
        return write

    def message(self, write: Write) -> bytes:
        write.sent = write.sent or put(
            b"%d-%d" % (self.number, write.sequence),
            write.value,
            by(self.number, write.sequence, oldest_pending=next(iter(self.pending))),
        )
        return write.sent

    def end(self, write: Write) -> None:
        del self.pending[write.sequence]
        self.ended.append(write)

    def burn(self, count: int) -> None:
        """So many writes in a row are refused before they reach the log."""
        self.sequence += count


def apply_one(store: MemoryStore, command: bytes) -> Outcome:
    [outcome] = applied(store, command)
    return outcome


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 1 << 32))
def test_honest_clients_are_never_refused_for_good_and_each_write_is_applied_at_most_once(seed: int) -> None:
    dice = random.Random(seed)
    store, clients = MemoryStore(), [HonestClient(1), HonestClient(2)]
    for client in clients:
        assert apply_one(store, client.message(client.begin())).status == APPLIED
        client.end(client.pending[1])
    copies: deque[bytes] = deque()  # under way, some of them for long
    for _ in range(60):
        client = dice.choice(clients)
        if dice.random() < 0.1 and not client.pending:
            client.burn(dice.choice([1, SESSION_RESULTS_MAX, SESSION_FLOOR_STEP_MAX, 3 * SESSION_FLOOR_STEP_MAX]))
        if len(client.pending) < IN_FLIGHT_MAX:
            client.begin()
        write = dice.choice(list(client.pending.values()))
        if dice.random() < 0.5:
            copies.append(client.message(write))  # reordered, or repeated
        for _ in range(dice.randrange(3)):
            if copies:
                copies.rotate(dice.randrange(len(copies)))
                apply_one(store, copies.popleft())  # its answer is lost
        if dice.random() < 0.6:
            settle(store, client, write, dice)
    for client in clients:
        for write in list(client.pending.values()):
            settle(store, client, write, dice)
    for copy in copies:
        apply_one(store, copy)

    values = [event.value for event in store.events.values()]
    assert len(values) == len(set(values)), f"seed {seed}: applied twice"
    assert {write.value for client in clients for write in client.ended} == set(values), f"seed {seed}"


def settle(store: MemoryStore, client: HonestClient, write: Write, dice: random.Random) -> None:
    """Tries until an answer arrives; OVERLOADED is tried again, as the SDK does."""
    for _ in range(20):
        outcome = apply_one(store, client.message(write))
        if outcome.status == APPLIED and dice.random() < 0.7:
            client.end(write)
            return
        assert outcome.status == APPLIED or outcome.reason == "OVERLOADED", outcome
    client.end(write)


@settings(deadline=None, max_examples=200)
@given(
    written=st.integers(1, 6),
    pending=st.integers(0, 3),
    sequence=st.integers(1, (1 << 64) - 1) | st.integers(1, 12) | st.just((1 << 64) - 1),
    back=st.integers(0, 6),
    value=st.sampled_from([b"forged", b"1 of 1"]),
)
def test_who_knows_an_id_moves_its_session_by_a_step_and_is_never_given_its_answers(
    written: int, pending: int, sequence: int, back: int, value: bytes
) -> None:
    """What SECURITY in docs/consistency.md states of one message."""
    store, client = MemoryStore(), HonestClient(1)
    for _ in range(written):
        apply_one(store, client.message(client.begin()))
    for done in list(client.pending.values())[: written - pending]:
        client.end(done)
    floor = store.sessions[(1).to_bytes(16, "big")].floor
    held = dict(store.events)
    forged = apply_one(store, put(b"forged key", value, by(1, sequence, oldest_pending=max(1, sequence - back))))

    after = store.sessions[(1).to_bytes(16, "big")].floor
    assert floor <= after <= floor + SESSION_FLOOR_STEP_MAX
    assert not forged.duplicate, "the answer to another operation is given to nobody"
    assert {number: store.events[number] for number in held} == held
    for write in client.pending.values():
        retry = apply_one(store, client.message(write))
        told_truly = (retry.duplicate and retry.status == APPLIED) or retry.reason == "SESSION_EXPIRED"
        assert told_truly, retry
    values = [event.value for event in store.events.values() if event.key != b"forged key"]
    assert len(values) == len(set(values)) == written
