"""Transfers between accounts on three real nodes, while leaders and all nodes are killed: no money is lost or made.

Each transfer is one transaction: two balances and a receipt. Auditors read all balances in a transaction, and in a scan
on any node, and must always see the same total. The seed is printed; `BANK_SEED` replays it.
"""

import asyncio
import os
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import replicator
from replicator import Get, If, KeyValue, Put, Range
from replicator.client import Client
from replicator.dev import LocalCluster, plan_cluster
from replicator.model.errors import ReplicatorError
from tests.integration.test_kill_nine import converged_hashes

ACCOUNTS = [b"account/%d" % number for number in range(8)]
BALANCE = 1000
TOTAL = BALANCE * len(ACCOUNTS)
TELLERS = 6
ROUNDS = 5
TRANSFERS_BETWEEN_KILLS = 60
CALL_S = 20.0
WAIT_S = 120.0

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


@dataclass
class Books:
    """What the tellers were told, by receipt."""

    done: dict[bytes, int] = field(default_factory=dict)  # receipt -> revision
    refused: set[bytes] = field(default_factory=set)
    unknown: set[bytes] = field(default_factory=set)
    replays: int = 0
    audits: int = 0
    stop: bool = False
    progress: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until_more(self, count: int) -> None:
        """Returns once `count` more transfers are acknowledged, which must come about."""
        goal = len(self.done) + count
        async with asyncio.timeout(WAIT_S), self.progress:
            await self.progress.wait_for(lambda: len(self.done) >= goal)


def pairs_of(done: object) -> tuple[KeyValue, ...]:
    assert isinstance(done, replicator.GetDone)
    return done.pairs


async def transfer(client: Client, receipt: bytes, source: bytes, target: bytes, amount: int, books: Books) -> None:
    """Reads both balances, then moves the amount if neither has changed; begins anew if one has."""
    seen = await client.txn(then=[Get(source), Get(target)], timeout_s=CALL_S)
    while True:
        [[paying], [receiving]] = map(pairs_of, seen.results)
        slip = b"%s %s %d" % (source, target, amount)
        try:
            seen = await client.txn(
                [
                    If.mod_revision(source) == paying.mod_revision,
                    If.mod_revision(target) == receiving.mod_revision,
                    If.missing(receipt),
                ],
                [
                    Put(source, b"%d" % (int(paying.value) - amount)),
                    Put(target, b"%d" % (int(receiving.value) + amount)),
                    Put(receipt, slip),
                ],
                [Get(source), Get(target)],
                timeout_s=CALL_S,
            )
        except ReplicatorError as error:
            (books.unknown if error.applied == "unknown" else books.refused).add(receipt)
            return
        books.replays += seen.duplicate
        if seen.succeeded:
            async with books.progress:
                books.done[receipt] = seen.revision
                books.progress.notify_all()
            return


async def tell(client: Client, name: str, dice: random.Random, books: Books) -> None:
    number = 0
    while not books.stop:
        number += 1
        source, target = dice.sample(ACCOUNTS, 2)
        receipt = f"receipt/{name}/{number:06d}".encode()
        try:
            await transfer(client, receipt, source, target, dice.randint(1, 200), books)
        except ReplicatorError:  # of the first read
            books.refused.add(receipt)


async def audit(client: Client, books: Books) -> None:
    """By turns in a transaction, through the leader, and in a scan of whichever node is near."""
    while not books.stop:
        try:
            read = await client.txn(then=[Get(Range.of_prefix(b"account/"))], timeout_s=CALL_S)
            pairs = [list(pairs_of(read.results[0]))]
            pairs.append([kv async for kv in client.scan(prefix=b"account/", timeout_s=CALL_S)])
        except ReplicatorError:
            continue
        for seen in pairs:
            total = sum(int(kv.value) for kv in seen)
            assert total in (TOTAL, 0), f"{total}: seen in part"  # 0: by a node that has nothing so far
        books.audits += 1


async def test_transfers_survive_kills_whole_and_once(tmp_path: Path) -> None:
    seed = int(os.environ.get("BANK_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"BANK_SEED={seed}")  # noqa: T201  # a failing run must be replayable
    dice, books = random.Random(seed), Books()
    plan = plan_cluster(tmp_path, ["eu", "us", "ap"], profile="lan")
    async with LocalCluster(plan) as cluster, replicator.connect(cluster.endpoints()) as client:
        opened = await client.txn(then=[Put(account, b"%d" % BALANCE) for account in ACCOUNTS], timeout_s=CALL_S)
        assert opened.succeeded
        tellers = [asyncio.create_task(tell(client, f"t{n}", dice, books)) for n in range(TELLERS)]
        tellers.append(asyncio.create_task(audit(client, books)))
        try:
            for number in range(ROUNDS):
                await books.until_more(TRANSFERS_BETWEEN_KILLS)
                victims = list(cluster.nodes) if number == ROUNDS - 1 else [await cluster.leader(WAIT_S)]
                await asyncio.gather(*(cluster.nodes[victim].kill9() for victim in victims))
                for victim in victims:
                    cluster.nodes[victim].start()
                await cluster.until_serving(60.0)
            await books.until_more(TRANSFERS_BETWEEN_KILLS)
        finally:
            books.stop = True
            ended = await asyncio.gather(*tellers, return_exceptions=True)
        assert [end for end in ended if end is not None] == [], f"seed {seed}"

        pairs = [kv async for kv in client.scan(consistency=replicator.LINEARIZABLE, timeout_s=CALL_S)]
        check_books({kv.key: kv for kv in pairs}, books, seed)
        hashes = await converged_hashes(cluster)
        assert len(set(hashes.values())) == 1, (seed, hashes)
    assert books.audits > 0


def check_books(held: dict[bytes, KeyValue], books: Books, seed: int) -> None:
    """Each receipt stands for one whole transfer, at one revision with the balances that it changed."""
    receipts = {key: kv for key, kv in held.items() if key.startswith(b"receipt/")}
    assert books.done.keys() <= receipts.keys() <= books.done.keys() | books.unknown, f"seed {seed}"
    assert not receipts.keys() & books.refused, f"seed {seed}"
    moved: Counter[bytes] = Counter()
    for key, kv in receipts.items():
        source, target, amount = kv.value.split()
        moved[source] -= int(amount)
        moved[target] += int(amount)
        assert (kv.version, kv.mod_revision) == (1, books.done.get(key, kv.mod_revision)), (seed, key)
    for account in ACCOUNTS:
        assert int(held[account].value) == BALANCE + moved[account], (seed, account)
    assert max(held[account].mod_revision for account in ACCOUNTS) == max(kv.mod_revision for kv in receipts.values())
