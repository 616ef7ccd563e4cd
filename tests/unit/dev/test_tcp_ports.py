"""Ports for nodes that come back: free now, and not the kernel's to give away."""

import socket

import pytest

from replicator.dev import tcp_ports
from replicator.dev.tcp_ports import free_ports, is_free
from replicator.model.errors import StartupError


def test_ports_are_different_and_can_be_bound() -> None:
    found = free_ports(20)
    assert len(set(found)) == 20
    assert all(is_free(port) for port in found)


def test_ports_lie_outside_the_range_of_outgoing_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed node's port must still be there for it, however many connections were made meanwhile."""
    monkeypatch.delenv("REPLICATOR_DEV_PORTS", raising=False)  # a worker of parallel tests has a range of its own
    monkeypatch.setattr(tcp_ports, "_ephemeral_range", lambda: (20_000, 60_000))
    assert all(not 20_000 <= port <= 60_000 for port in free_ports(20))


def test_a_machine_that_gives_away_every_port_still_gets_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPLICATOR_DEV_PORTS", raising=False)
    monkeypatch.setattr(tcp_ports, "_ephemeral_range", lambda: (1024, 65_535))
    assert len(free_ports(3)) == 3


def test_ports_come_from_the_range_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes started by processes of that environment never meet those of another range."""
    monkeypatch.setenv("REPLICATOR_DEV_PORTS", "20000-20099")
    assert set(free_ports(30)) <= set(range(20_000, 20_100))


def test_a_named_range_keeps_off_outgoing_connections_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_ports, "_ephemeral_range", lambda: (20_000, 60_000))
    monkeypatch.setenv("REPLICATOR_DEV_PORTS", "18000-62000")
    assert set(tcp_ports.drawn_from()) == {*range(18_000, 20_000), *range(60_001, 62_001)}


@pytest.mark.parametrize("text", ["20000", "20999-20000", "0-10", "20000-70000", "a-b", "-5-10"])
def test_a_range_that_is_none_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("REPLICATOR_DEV_PORTS", text)
    with pytest.raises(StartupError, match=r"REPLICATOR_DEV_PORTS: must be FIRST-LAST"):
        free_ports(1)


def test_a_port_somebody_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_free(server.getsockname()[1])


def test_too_few_ports_are_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_ports, "is_free", lambda _: False)
    with pytest.raises(StartupError, match="no 2 free ports"):
        free_ports(2)
