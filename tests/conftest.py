"""What tests share: signals as on a terminal, ports that parallel processes do not have, examples without a time limit,
and a disk that fails.
"""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from replicator.dev.tcp_ports import RANGE_VARIABLE, drawn_from
from tests.support.shims import built_shim

settings.register_profile("house", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("house")


def pytest_configure(config: pytest.Config) -> None:
    """What processes that tests start inherit: a Ctrl-C that works, and ports of their own.

    A shell without job control starts what runs in the background with SIGINT ignored, and a process hands that on.

    Each worker of pytest-xdist draws ports from a part of its own, as do all processes that it starts. A port is drawn
    before a node binds it, and again free while a killed node is away. Another worker that drew it in the meantime
    would fail a test of either.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
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
