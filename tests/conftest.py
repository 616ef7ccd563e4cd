"""What parallel test processes must not share: the ports that their nodes get."""

import os

import pytest

from replicator.dev.tcp_ports import RANGE_VARIABLE, drawn_from


def pytest_configure(config: pytest.Config) -> None:
    """Each worker of pytest-xdist draws ports from a part of its own, as do all processes that it starts.

    A port is drawn before a node binds it, and again free while a killed node is away. Another worker that drew it in
    the meantime would fail a test of either.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER")  # gw0, gw1, ...; none in a run of one process
    if worker is None:
        return
    ports, workers = drawn_from(), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    size, number = len(ports) // workers, int(worker.removeprefix("gw"))
    part = ports[number * size : (number + 1) * size]
    os.environ[RANGE_VARIABLE] = f"{part[0]}-{part[-1]}"
