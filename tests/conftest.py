"""What tests share: ports that parallel processes do not, no bound on the time of an example, a disk that fails."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from replicator.dev.tcp_ports import RANGE_VARIABLE, drawn_from
from tests.support.shims import built_shim

settings.register_profile("house", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("house")


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


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk that fails on demand, for LD_PRELOAD: its source says by which variables."""
    return built_shim("fsync_shim", tmp_path_factory.mktemp("shim"))
