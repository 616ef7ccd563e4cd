"""A client where it does not belong, in a forked process or on another loop, is refused with the remedy: no crash."""

import asyncio
import subprocess
import sys

import pytest

from tests.support.api_nodes import serving
from tests.support.forking_process import JOBS
from tests.support.memory_cluster import MemoryCluster

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]
FORKED = (
    "RuntimeError: this process was forked after a client was used, and no client can work in it: start it by spawn"
)


async def outcomes(case: str) -> tuple[list[str], str]:
    """What a program printed that does so, and what it said on stderr."""
    cluster = MemoryCluster()
    cluster.add("n1", "eu")
    command = [sys.executable, "-W", "always::ResourceWarning", "-m", "tests.support.forking_process", case]
    async with serving(cluster) as (api,):
        done = await asyncio.to_thread(
            subprocess.run, [*command, api.address], capture_output=True, text=True, timeout=120.0, check=False
        )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("case", ["own", "inherited", "closed-before"])
async def test_a_process_forked_after_a_call_is_told_so(case: str) -> None:
    """It used to die of SIGSEGV or SIGABRT, or to wait beyond every deadline."""
    told, _ = await outcomes(case)
    assert len(told) == JOBS
    assert all(line.startswith(FORKED) for line in told), told


@pytest.mark.parametrize("case", ["spawned", "forked-first"])
async def test_the_remedies_that_it_names_work(case: str) -> None:
    told, _ = await outcomes(case)
    assert told == ["done: written"] * JOBS


async def test_a_client_is_refused_after_its_loop_and_on_another_one() -> None:
    told, _ = await outcomes("after-its-loop")
    assert len(told) == 2
    assert all(
        line.startswith("RuntimeError: the event loop of this client has been closed: connect()") for line in told
    )
    [line], _ = await outcomes("on-another-loop")
    assert line.startswith("RuntimeError: this client belongs to another event loop: connect() a client in each loop")


async def test_a_client_that_is_never_closed_is_named_with_the_remedy() -> None:
    _, said = await outcomes("never-closed")
    assert "ResourceWarning: unclosed <replicator.client.client.Client" in said
    assert "use `async with`, or await its close()" in said
    assert "Event loop is closed" not in said
