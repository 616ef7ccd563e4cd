"""Which writes count against the quota of new clients."""

import logging
from typing import Any

import pytest

from replicator.api.new_clients import NewClients
from replicator.core.client_quota import BURST_S
from replicator.model.errors import Overloaded
from replicator.model.observe import Signal, SilentObserver

PLACES = int(BURST_S) + 1  # that a caller finds at one client a second


class From:
    """A call's context, as far as it matters here."""

    def __init__(self, peer: str) -> None:
        self._peer = peer

    def peer(self) -> str:
        return self._peer


class Counting(SilentObserver):
    """Keeps what was counted."""

    def __init__(self) -> None:
        self.counted: list[Signal] = []

    def count(self, signal: Signal, amount: int = 1, **labels: str) -> None:
        self.counted.append(signal)


HERE: Any = From("ipv4:192.0.2.1:50051")


def an_id(number: int) -> bytes:
    return number.to_bytes(16)


def filled(observer: Counting | None = None) -> NewClients:
    """Nothing more is taken from HERE."""
    clients = NewClients(1, observer or Counting(), lambda: 0.0)
    for number in range(PLACES):
        clients.admit(an_id(number), 1, HERE)
    with pytest.raises(Overloaded):
        clients.admit(an_id(PLACES), 1, HERE)
    return clients


def test_a_flood_is_refused_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    observer = Counting()
    with caplog.at_level(logging.WARNING):
        clients = filled(observer)
        with pytest.raises(Overloaded) as refused:
            clients.admit(an_id(PLACES), 1, HERE)
    assert observer.counted == [Signal.NEW_CLIENTS_REFUSED] * 2
    assert [record.getMessage() for record in caplog.records] == [
        "listen.api: refused new clients from=192.0.2.1: more than 1 a second "
        "(limits.new_clients_per_address_per_s_max); times=1"
    ]
    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s > 0.0
    assert "limits.new_clients_per_address_per_s_max" in refused.value.message


def test_a_client_counts_once_and_only_until_it_has_released_something() -> None:
    clients = filled()
    clients.admit(an_id(0), 1, HERE)  # a retry, or a further write beside the first
    clients.admit(an_id(PLACES), 2, HERE)  # of a client that is remembered, or else is refused by the log
    clients.admit(b"", 0, HERE)  # a write without an id


def test_an_id_that_the_service_refuses_takes_no_memory_here() -> None:
    filled().admit(bytes(1 << 20), 1, HERE)


def test_ports_of_one_address_are_one_caller_and_another_address_is_another() -> None:
    clients = filled()
    other_port: Any = From("ipv4:192.0.2.1:50052")
    with pytest.raises(Overloaded):
        clients.admit(an_id(PLACES), 1, other_port)
    elsewhere: Any = From("ipv4:192.0.2.2:50051")
    clients.admit(an_id(PLACES), 1, elsewhere)
    of_ipv6: Any = From("ipv6:%5B2001:db8::1%5D:50051")
    clients.admit(an_id(PLACES + 1), 1, of_ipv6)
