"""Readers shared, resize exclusive, waits bounded."""

import threading

import pytest

from replicator.model.errors import StorageFailed
from replicator.storage import gate as gate_module
from replicator.storage.gate import ReaderGate


def test_a_resize_waits_for_readers_and_new_readers_wait_for_the_resize() -> None:
    gate = ReaderGate()
    story: list[str] = []
    resizing, entered = threading.Event(), threading.Event()

    def resize() -> None:
        with gate.exclusive():
            story.append("resize")
            resizing.set()
            assert not entered.wait(0.05)
            story.append("resized")

    def read() -> None:
        resizing.wait(10)
        gate.enter()
        story.append("read")
        entered.set()
        gate.leave()

    gate.enter()
    threads = [threading.Thread(target=resize), threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    while not gate.exclusive_wanted:
        pass
    story.append("leave")
    gate.leave()
    for thread in threads:
        thread.join(10)
    assert story == ["leave", "resize", "resized", "read"]
    assert not gate.exclusive_wanted


def test_a_reader_that_never_leaves_is_reported_and_the_gate_opens_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "GATE_WAIT_S_MAX", 0.01)
    gate = ReaderGate()
    gate.enter()
    with pytest.raises(StorageFailed, match="1 readers did not leave"), gate.exclusive():
        pytest.fail("never alone")
    gate.enter()
    gate.leave()
    gate.leave()


def test_a_resize_that_fails_opens_the_gate_again() -> None:
    gate = ReaderGate()
    with pytest.raises(ValueError, match="boom"), gate.exclusive():
        raise ValueError("boom")
    gate.enter()
    gate.leave()
