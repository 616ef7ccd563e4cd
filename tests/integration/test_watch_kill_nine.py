"""SIGKILL of the leader and of the nodes that watchers read from: each change once, in order, none missing.

Real processes, real sockets, real LMDB files; waits are on conditions. The seed is printed; `KILL_SEED` replays it.
"""

import asyncio
import os
import random
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import replicator
from chaos.checkers import watched_changes
from chaos.checkers.watched_changes import Watched, joined
from replicator.client import Client
from replicator.dev import LocalCluster, plan_cluster
from replicator.model.changes import Change, ChangeBatch
from replicator.model.errors import ReplicatorError
from replicator.model.ids import NodeId

WRITERS = 4
KEYS = 40
ROUNDS = 6
WRITES_BETWEEN_KILLS = 150
WAIT_S = 120.0

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


@dataclass
class Ledger:
    """What the writers were told: revision -> key and value (None: deleted)."""

    acknowledged: dict[int, tuple[bytes, bytes | None]] = field(default_factory=dict)
    stop: bool = False
    progress: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until_more(self, count: int) -> None:
        goal = len(self.acknowledged) + count
        async with asyncio.timeout(WAIT_S), self.progress:
            await self.progress.wait_for(lambda: len(self.acknowledged) >= goal)


async def overwrite(client: Client, ledger: Ledger, dice: random.Random) -> None:
    """Puts and deletes of few keys, so that history and state differ."""
    while not ledger.stop:
        key = b"k/%02d" % dice.randrange(KEYS)
        try:
            if dice.random() < 0.2:
                gone = await client.delete(key, timeout_s=20.0)
                if not gone.deleted:
                    continue
                revision, value = gone.revision, None
            else:
                value = dice.randbytes(8).hex().encode()
                revision = (await client.put(key, value, timeout_s=20.0)).revision
        except ReplicatorError:
            continue
        async with ledger.progress:
            ledger.acknowledged[revision] = (key, value)
            ledger.progress.notify_all()


async def follow(client: Client, watched: Watched, prefix: bytes, until: "asyncio.Future[int]") -> None:
    """Until a batch reaches the revision that `until` names."""
    async with aclosing(client.watch(prefix=prefix, from_revision=watched.first, progress_s=0.2)) as items:
        async for item in items:
            assert isinstance(item, ChangeBatch)
            watched.batches.append(item)
            if until.done() and item.revision >= until.result():
                return


async def whole_history(endpoint: str, until: int) -> list[Change]:
    """What one node tells of all that happened."""
    async with replicator.connect([endpoint]) as reader:
        told = Watched("reader", 1)
        end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        end.set_result(until)
        async with asyncio.timeout(WAIT_S):
            await follow(reader, told, b"", end)
    return list(joined(told.batches))


async def kill_and_restart(cluster: LocalCluster, victims: list[NodeId]) -> None:
    await asyncio.gather(*(cluster.nodes[victim].kill9() for victim in victims))
    for victim in victims:
        cluster.nodes[victim].start()
    await cluster.until_serving(60.0)


@pytest.mark.parametrize("log_entries_max", [100_000, 64], ids=["whole-log", "short-log"])
async def test_no_kill_makes_a_watch_skip_or_repeat(tmp_path: Path, log_entries_max: int) -> None:
    """With a short log, nodes come back by snapshots, and the changes that these jump over are told all the same."""
    seed = int(os.environ.get("KILL_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"KILL_SEED={seed}")  # noqa: T201  # a failing run must be replayable
    dice, ledger = random.Random(seed), Ledger()
    plan = plan_cluster(tmp_path, ["eu", "us", "ap"], profile="lan")
    async with (
        LocalCluster(replace(plan, more_toml=f"[storage]\nlog_entries_max = {log_entries_max}\n")) as cluster,
        replicator.connect(cluster.endpoints()) as writer,
        replicator.connect(cluster.endpoints(), "us") as near,
        replicator.connect(cluster.endpoints(), "ap") as far,
    ):
        end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        all_changes = Watched("all", 1)
        some = Watched("some", 1, lambda change: change.key.startswith(b"k/0"))
        watching = [
            asyncio.create_task(follow(near, all_changes, b"k/", end)),
            asyncio.create_task(follow(far, some, b"k/0", end)),
        ]
        writers = [asyncio.create_task(overwrite(writer, ledger, dice)) for _ in range(WRITERS)]
        names = list(cluster.nodes)
        for number in range(ROUNDS):
            print(f"round {number}")  # noqa: T201  # where a run that stands still stood
            await ledger.until_more(WRITES_BETWEEN_KILLS)
            victims = [await cluster.leader(30.0)] if number % 2 == 0 else dice.sample(names, dice.choice((1, 2)))
            await kill_and_restart(cluster, victims)
        await ledger.until_more(WRITES_BETWEEN_KILLS)
        ledger.stop = True
        await asyncio.gather(*writers)
        end.set_result((await writer.get(b"k/00", consistency=replicator.LINEARIZABLE)).revision)
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(*watching)

        told = [await whole_history(endpoint, end.result()) for endpoint in cluster.endpoints()]
    assert told[0] == told[1] == told[2], "all nodes tell the same"
    for watched in (all_changes, some):
        assert [str(found) for found in watched_changes.check(watched, told[0])] == []
    at = {change.revision: (change.key, change.value) for change in told[0]}
    assert {revision: at.get(revision) for revision in ledger.acknowledged} == ledger.acknowledged
    assert len(ledger.acknowledged) >= (ROUNDS + 1) * WRITES_BETWEEN_KILLS
