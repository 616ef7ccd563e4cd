"""SIGKILL of any node, or of all at once, again and again under load: nothing acknowledged is lost or applied twice.

Real processes, real sockets, real LMDB files; waits are on conditions. The seed is printed; `KILL_SEED` replays it.
"""

import asyncio
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import replicator
from replicator.client import Client
from replicator.dev import LocalCluster, plan_cluster
from replicator.model.errors import ReplicatorError
from replicator.model.ids import NodeId

WRITERS = 8
ROUNDS = 6
WRITES_BETWEEN_KILLS = 120
WAIT_S = 120.0

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


@dataclass
class Ledger:
    """What the writers were told."""

    acknowledged: dict[bytes, tuple[bytes, int]] = field(default_factory=dict)  # key -> value, revision
    unknown: set[bytes] = field(default_factory=set)
    added: int = 0
    perhaps_added: int = 0
    stop: bool = False
    progress: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until_more(self, count: int) -> None:
        """Returns once `count` more writes are acknowledged, which must come about."""
        goal = len(self.acknowledged) + count
        async with asyncio.timeout(WAIT_S), self.progress:
            await self.progress.wait_for(lambda: len(self.acknowledged) >= goal)


async def write_orders(client: Client, name: str, ledger: Ledger) -> None:
    """A key of its own for each write: its `version` counts how often it was applied."""
    number = 0
    while not ledger.stop:
        number += 1
        key, value = f"order/{name}/{number:06d}".encode(), os.urandom(8).hex().encode()
        try:
            put = await client.put(key, value, timeout_s=20.0)
        except ReplicatorError as error:
            if error.applied == "unknown":
                ledger.unknown.add(key)
            continue
        async with ledger.progress:
            ledger.acknowledged[key] = (value, put.revision)
            ledger.progress.notify_all()


async def count_up(client: Client, ledger: Ledger) -> None:
    """Increments one shared counter by compare-and-set: a lost or doubled write shows in its value."""
    while not ledger.stop:
        try:
            now = await client.get(b"counter", consistency=replicator.LINEARIZABLE, timeout_s=20.0)
            following = str(int(now.value or b"0") + 1).encode()
            won = await client.compare_and_set(b"counter", following, if_revision=now.mod_revision, timeout_s=20.0)
        except ReplicatorError as error:
            ledger.perhaps_added += error.applied == "unknown"
            continue
        ledger.added += won.succeeded


async def kill_and_restart(cluster: LocalCluster, victims: Sequence[NodeId]) -> None:
    await asyncio.gather(*(cluster.nodes[victim].kill9() for victim in victims))
    for victim in victims:
        cluster.nodes[victim].start()
    await cluster.until_serving(60.0)


def logs_of(cluster: LocalCluster) -> list[str]:
    """What each node said last."""
    return [f"{name}:\n{process.log_tail(40)}" for name, process in cluster.nodes.items()]


async def converged_hashes(cluster: LocalCluster) -> dict[str, tuple[int, str, str]]:
    """(applied index, rolling hash, state hash) of every node, once they stand at one index, which must come about."""
    deadline_s = time.monotonic() + WAIT_S
    while True:
        statuses = await cluster.statuses()
        assert time.monotonic() < deadline_s, "\n".join([f"no common index: {statuses}", *logs_of(cluster)])
        if len(statuses) == len(cluster.nodes) and len({s.applied_index for s in statuses.values()}) == 1:
            hashed = {name: await cluster.status(name, state_hash=True) for name in cluster.nodes}
            if len({s.applied_index for s in hashed.values()}) == 1:
                return {name: (s.applied_index, s.rolling_hash, s.state_hash) for name, s in hashed.items()}
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("log_entries_max", [100_000, 64], ids=["whole-log", "short-log"])
async def test_no_kill_loses_or_doubles_a_write(tmp_path: Path, log_entries_max: int) -> None:
    """Acknowledged means durable on a majority and applied exactly once, whatever is killed and whenever.

    With a short log, nodes come back to entries that are compacted away, and snapshots are made amid the kills.
    """
    seed = int(os.environ.get("KILL_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"KILL_SEED={seed}")  # noqa: T201  # a failing run must be replayable
    dice, ledger = random.Random(seed), Ledger()
    plan = plan_cluster(tmp_path, ["eu", "us", "ap"], profile="lan")
    async with (
        LocalCluster(replace(plan, more_toml=f"[storage]\nlog_entries_max = {log_entries_max}\n")) as cluster,
        replicator.connect(cluster.endpoints()) as client,
    ):
        writers = [asyncio.create_task(write_orders(client, f"w{n}", ledger)) for n in range(WRITERS)]
        writers.append(asyncio.create_task(count_up(client, ledger)))
        names = list(cluster.nodes)
        for number in range(ROUNDS):
            print(f"round {number}")  # noqa: T201  # where a run that stands still stood
            await ledger.until_more(WRITES_BETWEEN_KILLS)
            if number % 3 == 0:
                victims = [await cluster.leader(30.0)]
            elif number % 3 == 1:
                victims = names
            else:
                victims = dice.sample(names, dice.choice((1, 2)))
            await kill_and_restart(cluster, victims)
        await ledger.until_more(WRITES_BETWEEN_KILLS)
        ledger.stop = True
        await asyncio.gather(*writers)

        hashes = await converged_hashes(cluster)
        assert len(set(hashes.values())) == 1, hashes
        for endpoint in cluster.endpoints():
            async with replicator.connect([endpoint]) as reader:
                await assert_holds(reader, ledger)
    assert len(ledger.acknowledged) >= (ROUNDS + 1) * WRITES_BETWEEN_KILLS


async def assert_holds(reader: Client, ledger: Ledger) -> None:
    found = {pair.key: pair async for pair in reader.scan(prefix=b"order/")}
    lost = [key for key in ledger.acknowledged if key not in found]
    assert lost == []
    changed = [key for key, (value, revision) in ledger.acknowledged.items()
               if (found[key].value, found[key].mod_revision) != (value, revision)]  # fmt: skip
    assert changed == []
    assert [pair.key for pair in found.values() if pair.version != 1] == [], "applied twice"
    assert set(found) <= set(ledger.acknowledged) | ledger.unknown, "a write that was said not to have happened"
    counter = int((await reader.get(b"counter", consistency=replicator.LINEARIZABLE)).value or b"0")
    assert ledger.added <= counter <= ledger.added + ledger.perhaps_added
