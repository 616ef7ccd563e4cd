"""Readers shared, a change exclusive, waits bounded; and a short reader waits for no long one."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.model.errors import StorageFailed
from replicator.storage import gate as gate_module
from replicator.storage.gate import ReaderGate

WAIT_S = 30.0


def until(holds: Callable[[], bool]) -> None:
    """Polls: what threads do inside the gate has no event of its own."""
    end_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end_s, "never came to hold"
        time.sleep(0.0005)


@contextmanager
def a_change(gate: ReaderGate) -> Iterator[threading.Event]:
    """A thread asks for the gate, sets the event once it is alone, and stays until the block ends."""
    alone, may_end = threading.Event(), threading.Event()

    def change() -> None:
        with gate.exclusive():
            alone.set()
            assert may_end.wait(WAIT_S)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        until(lambda: gate.exclusive_wanted)
        yield alone
    finally:
        may_end.set()
        thread.join(WAIT_S)
    assert not thread.is_alive()
    assert not gate.exclusive_wanted


def is_shut(enter: Callable[[], None], leave: Callable[[], None]) -> bool:
    """Whether a reader that comes now has to wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate_module, "GATE_WAIT_S_MAX", 0.0)
        try:
            enter()
        except StorageFailed:
            return True
    leave()
    return False


def is_shut_to_short(gate: ReaderGate) -> bool:
    return is_shut(gate.enter, gate.leave)


def is_shut_to_long(gate: ReaderGate) -> bool:
    return is_shut(gate.enter_long, gate.leave_long)


def test_a_change_waits_for_readers_and_new_readers_wait_for_the_change() -> None:
    gate = ReaderGate()
    gate.enter_long()
    gate.enter()
    with a_change(gate) as alone:
        gate.leave_long()
        until(lambda: is_shut_to_short(gate))
        assert is_shut_to_long(gate)
        assert not alone.is_set()
        gate.leave()
        assert alone.wait(WAIT_S)
        assert is_shut_to_short(gate)
        assert is_shut_to_long(gate)
    assert not is_shut_to_short(gate)
    assert not is_shut_to_long(gate)


def test_short_readers_come_and_go_while_a_change_waits_for_a_long_one() -> None:
    """Else a scan on another thread would hold up the loop, and with it heartbeats and every read of the node."""
    gate = ReaderGate()
    gate.enter_long()
    with a_change(gate) as alone:
        for _ in range(1000):
            assert not is_shut_to_short(gate)
        assert is_shut_to_long(gate)
        assert not alone.is_set()
        gate.leave_long()
        assert alone.wait(WAIT_S)


class Counted:
    """A gate, and the model of it: who is inside, and whether a change is wanted. The rest follows from these."""

    def __init__(self) -> None:
        self.gate, self.short, self.long = ReaderGate(), 0, 0
        self.alone: threading.Event | None = None  # there while a change is wanted

    def move(self, move: str, changes: ExitStack) -> None:
        """Nothing, if the model says that the one who moves would have to wait, or is not there."""
        match move:
            case "short" if self.alone is None or self.long:
                self.gate.enter()
                self.short += 1
            case "long" if self.alone is None:
                self.gate.enter_long()
                self.long += 1
            case "short leaves" if self.short:
                self.gate.leave()
                self.short -= 1
            case "long leaves" if self.long:
                self.gate.leave_long()
                self.long -= 1
            case "change" if self.alone is None:
                self.alone = changes.enter_context(a_change(self.gate))
            case "changed" if self.alone is not None and self.short == self.long == 0:
                changes.close()
                self.alone = None

    def check(self) -> None:
        """The gate admits, and is alone, as the model says."""
        if self.alone is not None and self.long == 0:
            until(lambda: is_shut_to_short(self.gate))
            assert self.alone.wait(WAIT_S if self.short == 0 else 0.0) == (self.short == 0)
        else:
            assert not is_shut_to_short(self.gate)
            assert self.alone is None or not self.alone.is_set()
        assert is_shut_to_long(self.gate) == (self.alone is not None)

    def all_leave(self) -> None:
        for _ in range(self.short):
            self.gate.leave()
        for _ in range(self.long):
            self.gate.leave_long()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["short", "long", "short leaves", "long leaves", "change", "changed"]), max_size=30))
def test_the_gate_agrees_with_a_model_that_counts(moves: list[str]) -> None:
    counted = Counted()
    with ExitStack() as changes:
        try:
            for move in moves:
                counted.move(move, changes)
                counted.check()
        finally:
            counted.all_leave()


def test_nobody_is_inside_while_something_is_changed() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201
    gate, inside, failures = ReaderGate(), [0], []
    counting, done = threading.Lock(), threading.Event()

    def read(number: int) -> None:
        dice = random.Random(seed + number)
        enter, leave = (gate.enter_long, gate.leave_long) if number % 2 else (gate.enter, gate.leave)
        try:
            while not done.is_set():
                enter()
                with counting:
                    inside[0] += 1
                time.sleep(dice.random() * 0.002)
                with counting:
                    inside[0] -= 1
                leave()
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(100):
            with gate.exclusive():
                assert inside[0] == 0
    finally:
        done.set()
        for reader in readers:
            reader.join(WAIT_S)
    assert failures == []


@pytest.mark.parametrize("kind", ["short", "long"])
def test_a_reader_that_never_leaves_is_reported_and_the_gate_opens_again(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_module, "GATE_WAIT_S_MAX", 0.01)
    gate = ReaderGate()
    enter, leave = (gate.enter, gate.leave) if kind == "short" else (gate.enter_long, gate.leave_long)
    enter()
    with pytest.raises(StorageFailed, match="1 readers did not leave"), gate.exclusive():
        pytest.fail("never alone")
    enter()
    leave()
    leave()


def test_a_change_that_fails_opens_the_gate_again() -> None:
    gate = ReaderGate()
    with pytest.raises(ValueError, match="boom"), gate.exclusive():
        raise ValueError("boom")
    gate.enter()
    gate.leave()
