"""The client without async, as programs use it: from threads, to their end, and where it cannot work."""

import asyncio
import subprocess
import sys

import pytest

import replicator
import replicator.sync
from tests.support.api_nodes import free_address, serving
from tests.support.memory_cluster import MemoryCluster
from tests.support.sync_process import THREADS, TURNS

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


async def told_by(case: str) -> tuple[list[str], str]:
    """What a program printed that does so, and what it said on stderr; it has ended by itself."""
    cluster = MemoryCluster()
    for node_id, region in (("n1", "eu"), ("n2", "us"), ("n3", "ap")):
        cluster.add(node_id, region)
    command = [sys.executable, "-W", "always::ResourceWarning", "-m", "tests.support.sync_process", case]
    async with serving(cluster) as (api, *_):
        done = await asyncio.to_thread(
            subprocess.run, [*command, api.address], capture_output=True, text=True, timeout=120.0, check=False
        )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines(), done.stderr


async def test_threads_share_clients_and_one_loop() -> None:
    assert (await told_by("threads"))[0] == [f"count={THREADS * TURNS}", "loops=1"]


async def test_scans_are_iterators() -> None:
    told, _ = await told_by("scans")
    assert told == ["pages=[2, 2, 1]", "keys=['scan/0', 'scan/1', 'scan/2', 'scan/3', 'scan/4']"]


async def test_a_call_can_be_interrupted() -> None:
    assert (await told_by("interrupted"))[0] == ["interrupted"]


async def test_a_client_that_is_closed_amid_calls_ends_all_of_them() -> None:
    assert (await told_by("closed-amid-calls"))[0] == ["strange=[]"]


async def test_a_program_that_never_closes_its_client_ends() -> None:
    assert (await told_by("never-closed"))[0] == ["written"]


async def test_a_client_that_is_never_closed_and_forgotten_is_named_and_takes_its_thread_along() -> None:
    told, said = await told_by("collected")
    assert told == ["loops=0"]
    assert "ResourceWarning: unclosed <replicator.client.sync_client.SyncClient" in said


async def test_a_process_forked_after_a_call_is_told_so() -> None:
    told, _ = await told_by("forked")
    assert told[0].startswith("RuntimeError: this process was forked after a client was used")
    assert told[1] == "exit=0"


def test_mistakes_are_told_before_a_thread_is_started() -> None:
    with pytest.raises(replicator.InvalidArgument):
        replicator.sync.connect([])
    client = replicator.sync.connect(free_address())
    client.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        client.put(b"k", b"v")
