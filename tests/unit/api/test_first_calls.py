"""Connections that send no call."""

import logging

import pytest

from replicator.api.interceptors.first_calls import SAME_PEER_S, SETTLE_S, FirstCalls
from replicator.model.observe import Signal, SilentObserver


class Counting(SilentObserver):
    """How many were silent."""

    silent = 0

    def count(self, signal: Signal, amount: int = 1, **labels: str) -> None:
        assert signal is Signal.CONNECTIONS_SILENT
        self.silent += amount


class Watched:
    """With a clock of its own."""

    def __init__(self) -> None:
        self.now_s, self.observer = 0.0, Counting()
        self.calls = FirstCalls(self.observer, lambda: self.now_s)

    def silent_after(self, seconds: float) -> int:
        self.now_s += seconds
        self.calls.look()
        return self.observer.silent


def test_handshakes_without_a_call_are_counted_once_they_have_had_time(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    for _ in range(3):
        watched.calls.began()
    watched.calls.called("ipv4:127.0.0.1:1")
    watched.calls.called("ipv4:127.0.0.1:1")
    with caplog.at_level(logging.WARNING):
        assert watched.silent_after(SETTLE_S) == 0
        assert watched.silent_after(1.0) == 2
        assert watched.silent_after(SETTLE_S) == 2
    assert [record.getMessage().rpartition("; ")[2] for record in caplog.records] == ["times=2"]


def test_a_call_does_not_make_up_for_the_handshakes_of_later() -> None:
    watched = Watched()
    watched.calls.called("ipv4:127.0.0.1:1")  # of a connection that was counted long ago
    watched.calls.look()
    watched.calls.began()
    assert watched.silent_after(SETTLE_S + 1.0) == 1


def test_a_port_that_is_used_again_is_another_connection() -> None:
    watched = Watched()
    for _ in range(2):
        watched.calls.began()
        watched.calls.called("ipv4:127.0.0.1:1")
        assert watched.silent_after(SAME_PEER_S + 1.0) == 0


def test_what_came_before_the_port_was_open_does_not_count() -> None:
    watched = Watched()
    watched.calls.began()
    watched.calls.forget()
    assert watched.silent_after(SETTLE_S + 1.0) == 0
