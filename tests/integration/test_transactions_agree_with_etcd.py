"""Random transactions on a real etcd and in the state machine: the same results, revisions and refusals.

Runs where etcd is installed. The seed is printed; `ETCD_SEED` replays it. A fresh etcd is at revision 1, a store at 0.
"""

import base64
import json
import os
import random
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replicator.dev import free_ports
from replicator.machine.apply import apply_entry
from replicator.model.transactions import Compare, Delete, Get, Operation, Put, Range, Relation, Target, Transaction
from replicator.v1 import kv_pb2
from tests.support.commands import an_entry, flat, transact
from tests.support.memory_store import MemoryStore

TRANSACTIONS = 400
WAIT_S = 60.0
KEYS = [b"a", b"b", b"ba", b"c", b"d"]
RELATIONS = {
    Relation.EQUAL: "EQUAL",
    Relation.NOT_EQUAL: "NOT_EQUAL",
    Relation.GREATER: "GREATER",
    Relation.LESS: "LESS",
}
TARGETS = {
    Target.VALUE: ("VALUE", "value"),
    Target.VERSION: ("VERSION", "version"),
    Target.CREATE_REVISION: ("CREATE", "create_revision"),
    Target.MOD_REVISION: ("MOD", "mod_revision"),
}

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which("etcd") is None, reason="etcd is not installed"),
    pytest.mark.timeout(300),
]


class Etcd:
    """One node, asked through its JSON gateway."""

    def __init__(self, url: str) -> None:
        self._url = url

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer, or `{"error": text}`."""
        request = urllib.request.Request(f"{self._url}{path}", json.dumps(body).encode())  # loopback
        try:
            with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            return dict(json.load(error))


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    client, peer = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    command = ["etcd", "--data-dir", str(tmp_path / "etcd"), "--listen-client-urls", client]
    command += ["--advertise-client-urls", client, "--listen-peer-urls", peer]
    command += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
    with (tmp_path / "etcd.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        server, deadline_s = Etcd(client), time.monotonic() + WAIT_S
        while True:
            try:
                if "version" in server.call("/v3/maintenance/status", {}):
                    break
            except OSError:
                assert time.monotonic() < deadline_s, (tmp_path / "etcd.log").read_text()[-2000:]
                assert process.poll() is None, (tmp_path / "etcd.log").read_text()[-2000:]
                time.sleep(0.05)
        yield server
    finally:
        process.terminate()
        process.wait(15)


# Our values as etcd's requests


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def keys_of(keys: bytes | Range) -> dict[str, str]:
    if isinstance(keys, bytes):
        return {"key": b64(keys)}
    return {"key": b64(keys.start or b"\0"), "range_end": b64(keys.end or b"\0")}


def request_of(asked: Transaction) -> dict[str, Any]:
    return {
        "compare": [compare_of(each) for each in asked.compare],
        "success": [operation_of(each) for each in asked.then],
        "failure": [operation_of(each) for each in asked.or_else],
    }


def compare_of(compare: Compare) -> dict[str, Any]:
    target, name = TARGETS[compare.target]
    operand = b64(compare.operand) if isinstance(compare.operand, bytes) else str(as_theirs(compare))
    return {"result": RELATIONS[compare.relation], "target": target, name: operand, **keys_of(compare.keys)}


def as_theirs(compare: Compare) -> int:
    """Revisions of etcd are one ahead, of which a missing key has none: 0, as here."""
    assert isinstance(compare.operand, int)
    is_revision = compare.target in (Target.CREATE_REVISION, Target.MOD_REVISION)
    return compare.operand + (1 if is_revision and compare.operand > 0 else 0)


def operation_of(op: Operation) -> dict[str, Any]:
    match op:
        case Put():
            return {"request_put": {"key": b64(op.key), "value": b64(op.value), "prev_kv": op.previous}}
        case Get():
            options = {"limit": op.limit, "keys_only": op.keys_only, "count_only": op.count_only}
            return {"request_range": keys_of(op.keys) | options}
        case Delete():
            return {"request_delete_range": keys_of(op.keys) | {"prev_kv": op.previous}}
        case Transaction():
            return {"request_txn": request_of(op)}


# What both answer, in one form


def their_pairs(pairs: list[dict[str, Any]]) -> list[Any]:
    return [
        (
            base64.b64decode(pair["key"]),
            base64.b64decode(pair.get("value", "")),
            int(pair["create_revision"]) - 1,
            int(pair["mod_revision"]) - 1,
            int(pair["version"]),
        )
        for pair in pairs
    ]


def their_result(answer: dict[str, Any], asked: Transaction) -> Any:
    succeeded = answer.get("succeeded", False)
    operations = asked.then if succeeded else asked.or_else
    done = answer.get("responses", [])
    return succeeded, [their_done(each, op) for each, op in zip(done, operations, strict=True)]


def their_done(done: dict[str, Any], op: Operation) -> Any:
    match op:
        case Put():
            put = done["response_put"]
            return their_pairs([put["prev_kv"]] if "prev_kv" in put else [])
        case Get():
            got = done["response_range"]
            return (
                their_pairs(got.get("kvs", [])),
                got.get("more", False),
                got.get("count", "0") if op.count_only else None,
            )
        case Delete():
            deleted = done["response_delete_range"]
            return their_pairs(deleted.get("prev_kvs", [])), int(deleted.get("deleted", 0))
        case Transaction():
            return their_result(done["response_txn"], op)


def our_pairs(pairs: Any) -> list[Any]:
    return [(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version) for kv in pairs]


def our_result(result: kv_pb2.TransactionResult, asked: Transaction) -> Any:
    operations = asked.then if result.succeeded else asked.or_else
    return result.succeeded, [our_done(each, op) for each, op in zip(result.results, operations, strict=True)]


def our_done(done: kv_pb2.OperationResult, op: Operation) -> Any:
    match op:
        case Put():
            return our_pairs(done.pairs)
        case Get():
            return our_pairs(done.pairs), done.more, str(done.count) if op.count_only else None
        case Delete():
            return our_pairs(done.pairs), done.count
        case Transaction():
            return our_result(done.transaction, op)


# What is drawn


def a_target(dice: random.Random) -> bytes | Range:
    if dice.random() < 0.6:
        return dice.choice(KEYS)
    return Range(dice.choice(KEYS), dice.choice([*KEYS, b""]))


def a_compare(dice: random.Random, revision: int) -> Compare:
    target = dice.choice(list(Target))
    near = dice.randint(max(0, revision - 3), revision + 1)
    number = dice.randint(-1, 4) if target is Target.VERSION or dice.random() < 0.2 else near
    operand = b"%d" % dice.randint(0, 3) if target is Target.VALUE else number
    return Compare(a_target(dice), target, dice.choice(list(Relation)), operand)


def an_operation(dice: random.Random, revision: int, level: int) -> Operation:
    kind = dice.choice(["put", "put", "put", "get", "get", "delete", "nested" if level < 3 else "put"])
    if kind == "put":
        return Put(dice.choice(KEYS), b"%d" % dice.randint(0, 3), dice.random() < 0.5)
    if kind == "get":
        return Get(a_target(dice), dice.randint(0, 3), dice.random() < 0.2, dice.random() < 0.2)
    if kind == "delete":
        return Delete(a_target(dice), dice.random() < 0.5)
    return a_transaction(dice, revision, level + 1)


def a_transaction(dice: random.Random, revision: int, level: int = 1) -> Transaction:
    return Transaction(
        [a_compare(dice, revision) for _ in range(dice.choice([0, 0, 1, 1, 2]))],
        [an_operation(dice, revision, level) for _ in range(dice.randint(0, 3))],
        [an_operation(dice, revision, level) for _ in range(dice.randint(0, 3))],
    )


def test_the_state_machine_answers_as_etcd_does(etcd: Etcd) -> None:
    seed = int(os.environ.get("ETCD_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"ETCD_SEED={seed}")  # noqa: T201  # a failing run must be replayable
    dice, store = random.Random(seed), MemoryStore()
    refused = applied = 0
    for number in range(TRANSACTIONS):
        asked = a_transaction(dice, store.revision)
        answer = etcd.call("/v3/kv/txn", request_of(asked))
        [outcome] = apply_entry(store, an_entry(store.applied_index + 1, transact(asked)))
        row, where = flat(outcome), (seed, number, asked)
        if "error" in answer:
            assert "duplicate key given in txn request" in answer["error"], (answer, where)
            assert "is a duplicate" in row.message, where
            refused += 1
            continue
        assert not row.reason, f"{row.message}: {where}"
        assert our_result(outcome.transactions[0].result, asked) == their_result(answer, asked), where
        assert row.revision == int(answer["header"]["revision"]) - 1, where
        applied += 1
    held = etcd.call("/v3/kv/range", keys_of(Range(b"")))
    assert their_pairs(held.get("kvs", [])) == [tuple(pair) for pair in store.pairs_at(store.revision)]
    assert min(refused, applied) > TRANSACTIONS // 20, "both were met"
