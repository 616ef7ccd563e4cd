"""Real processes: a seed says anything to their peer ports, in every role, and they serve on as if nobody had spoken.

Roles without the group's secret are refused, and nothing that they say has an effect. Those with it are linked: what a
member may say is bounded, and what a real member could do within the bounds is left out (tests/support/peer_fuzz.py).
PEER_FUZZ_SEED replays a run.
"""

import asyncio
import contextlib
import os
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

import replicator
from replicator.dev import ClusterPlan, LocalCluster, plan_cluster
from replicator.machine.group_entries import membership_of
from replicator.model.ids import NodeId, Term
from replicator.model.incarnation import RUN_ID_BYTES
from replicator.model.limits import INDEX_MAX
from replicator.model.members import Membership
from replicator.storage.data_directory import runs as incarnations
from replicator.storage.layout import DIRECTORY_ID_KEY, MEMBERSHIP_KEY
from replicator.storage.offline.offline_store import opened_offline
from replicator.transport.handshake.proof import NONCE_BYTES, Secrets, signed_refusal
from replicator.transport.handshake.secret_file import SecretFile
from replicator.transport.streams import FETCH_METHOD, METHOD
from replicator.v1 import peer_pb2, store_pb2
from tests.support.bent_bytes import bent
from tests.support.links import HandDriven, a_hello, directory_of
from tests.support.peer_fuzz import FORGED, FORGED_TERM_MIN, Anything, is_in_a_members_power

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

OUTSIDERS_SESSIONS: Final = 16  # of each role, at each node
INSIDERS_SESSIONS: Final = 60
MESSAGES_MAX: Final = 12
ENDS_S: Final = 5.0
RSS_GROWTH_KIB_MAX: Final = 256 << 10
IMPERSONATED: Final = NodeId("ap-1")


@dataclass(frozen=True)
class Directory:
    """What somebody learns who reads the directory of a stopped node."""

    directory_id: bytes
    runs: int
    membership: Membership
    term: Term
    last_index: int

    @classmethod
    def read(cls, path: Path) -> "Directory":
        with opened_offline(path) as store:
            txn, databases, _ = store.view
            stored = store_pb2.Membership.FromString(txn.get(MEMBERSHIP_KEY, db=databases.meta) or b"")
            directory_id = txn.get(DIRECTORY_ID_KEY, db=databases.meta) or b""
            facts, runs = store.facts(), incarnations.number_held(txn, databases)
        assert facts.term is not None
        return cls(directory_id, runs, membership_of(stored), facts.term, facts.last_index)


@dataclass(frozen=True)
class Role:
    """Who says it. hello: what differs from that of an unknown node. is_of_group: holds the group's secret."""

    name: str
    secrets: Secrets
    hello: dict[str, Any] = field(default_factory=dict)
    is_of_group: bool = False


@dataclass
class Fuzz:
    """All sessions of one seed."""

    plan: ClusterPlan
    dice: random.Random
    anything: Anything
    heard: list[bytes] = field(default_factory=list)  # of earlier sessions, to be replayed
    runs: int = 0
    linked: Counter[str] = field(default_factory=Counter)

    async def sessions(self, role: Role, target: NodeId, count: int) -> None:
        for _ in range(count):
            method = METHOD if self.dice.random() < 0.8 else FETCH_METHOD
            port = next(node.peer_port for node in self.plan.nodes if node.id == target)
            async with HandDriven(port, method=method) as peer:
                try:
                    async with asyncio.timeout(ENDS_S):
                        await self._session(peer, role, target)
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
                    continue  # refused, or left alone: whether that does harm is asked afterwards

    async def _session(self, peer: HandDriven, role: Role, target: NodeId) -> None:
        hello = self._hello(role, target)
        match self.dice.randrange(8):
            case 0:  # out of order
                await self._say(peer, [self.anything.link_message() for _ in range(self._some())])
            case 1:
                await self._say(peer, [bent(self.anything.dice, hello.SerializeToString())])
            case 2 if self.heard:
                await self._say(peer, self.dice.choices(self.heard, k=self._some()))
            case 3:
                await self._say(peer, [hello.SerializeToString()])
                welcome = (await peer.hear()).welcome
                refusal = peer_pb2.Refusal(reason="LOST_DATA", message="you must not act")
                if not role.is_of_group:  # a member has the power to say so
                    refusal = signed_refusal(role.secrets, refusal, hello.SerializeToString(), welcome.hello)
                await self._say(peer, [peer_pb2.LinkMessage(refusal=refusal).SerializeToString()])
            case _:
                await self._shake_hands(peer, role, hello)
        await peer.call.done_writing()
        while isinstance(message := await peer.call.read(), bytes):  # else the end of the stream
            self.heard.append(message)

    async def _shake_hands(self, peer: HandDriven, role: Role, hello: peer_pb2.LinkMessage) -> None:
        await self._say(peer, [hello.SerializeToString()])
        answer = await peer.hear()
        if answer.WhichOneof("body") != "welcome":
            return
        await peer.prove(hello, answer.welcome, role.secrets)
        frames = [self.anything.raft_frame() for _ in range(self._some())]
        if role.is_of_group:
            frames = [frame for frame in frames if not is_in_a_members_power(frame, Term(self.anything.term))]
        wrapped = [self.anything.wrapped(frame) for frame in frames]
        if self.dice.random() < 0.3:
            wrapped.append(peer_pb2.LinkMessage(chunk=peer_pb2.SnapshotChunk(data=bytes(1 << 16))).SerializeToString())
            wrapped.append(self._fetch())
        await self._say(peer, wrapped)
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await peer.call.done_writing()
        first: Any = await peer.call.read()  # an accepted peer gets frames, or an end in order; another one a refusal
        if first is grpc.aio.EOF or peer_pb2.LinkMessage.FromString(first).WhichOneof("body") != "refusal":
            self.linked[role.name] += 1

    async def _say(self, peer: HandDriven, messages: list[bytes]) -> None:
        self.heard = [*self.heard, *(message for message in messages if len(message) < 1 << 16)][-200:]
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # it has been refused already
            for message in messages:
                await peer.call.write(message)

    def _hello(self, role: Role, target: NodeId) -> peer_pb2.LinkMessage:
        self.runs += 1
        said = {
            "cluster_id": self.plan.cluster_id,
            "node_id": "zz-9",
            "peer_id": target,
            "founder": b"",
            "membership_index": INDEX_MAX,
            "directory_id": directory_of("zz-9"),
            "incarnation": self.runs,
            "run_id": self.dice.randbytes(RUN_ID_BYTES),
            "nonce": self.dice.randbytes(NONCE_BYTES),
        }
        return a_hello(**(said | role.hello))

    def _fetch(self) -> bytes:
        snapshot_id = self.dice.choice(("../../data.mdb", "1-0123456789abcdef", "", "x" * 3000))
        request = peer_pb2.FetchSnapshotRequest(snapshot_id=snapshot_id, offset=self.dice.choice((0, 1 << 63)))
        return peer_pb2.LinkMessage(fetch=request).SerializeToString()

    def _some(self) -> int:
        return self.dice.randrange(1, MESSAGES_MAX)


@dataclass
class Witness:
    """Writes while the fuzz speaks, and knows what must be there."""

    cluster: LocalCluster
    kept: dict[bytes, bytes] = field(default_factory=dict)
    token: str = ""

    async def write(self, count: int) -> None:
        async with replicator.connect(self.cluster.endpoints(), timeout_s=60.0) as client:
            for _ in range(count):
                key = b"kept/%d" % len(self.kept)
                while not (token := await _put(client, key, b"v" + key)):
                    pass
                self.token = token
                self.kept[key] = b"v" + key

    async def look(self) -> None:
        """Every node that runs has all that was acknowledged, and nothing else, at every level of reading."""
        for endpoint in self.cluster.endpoints():
            async with replicator.connect([endpoint], timeout_s=60.0) as one:
                for key, value in self.kept.items():
                    assert (await one.get(key, token=self.token)).value == value
                for consistency in (replicator.LOCAL, replicator.CAUSAL, replicator.LINEARIZABLE):
                    for name in (b"append", b"forward"):
                        assert (await one.get(FORGED + name, consistency=consistency)).value is None
                assert {pair.key async for pair in one.scan(token=self.token)} == self.kept.keys()

    async def terms(self) -> dict[str, int]:
        return {name: status.term for name, status in (await self.cluster.statuses()).items()}


async def _put(client: replicator.Client, key: bytes, value: bytes) -> str:
    """The token; empty if the leader was lost meanwhile, as a member may bring about."""
    try:
        return (await client.put(key, value)).token
    except replicator.OutcomeUnknown:
        return ""


def rss_kib(pid: int) -> int:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


def check_running(cluster: LocalCluster, memory_kib: dict[NodeId, int]) -> None:
    """No node has ended, or grown."""
    for name, before_kib in memory_kib.items():
        cluster.nodes[name].check_alive()
        assert rss_kib(cluster.nodes[name].pid) < before_kib + RSS_GROWTH_KIB_MAX, name


async def test_whatever_is_said_at_the_peer_ports_nobody_ends_and_nothing_forged_is_read(tmp_path: Path) -> None:
    seed = int(os.environ.get("PEER_FUZZ_SEED", random.randrange(1 << 32)))
    print(f"PEER_FUZZ_SEED={seed}")  # noqa: T201  # to replay it
    plan = replace(plan_cluster(tmp_path, ("eu", "us", "ap"), profile="wan"), more_toml='[links]\ncompression = "on"\n')
    async with LocalCluster(plan) as cluster:
        witness = Witness(cluster)
        await witness.write(20)
        held = await stopped_and_read(cluster)
        await start(cluster, IMPERSONATED)
        memory_kib = {name: rss_kib(process.pid) for name, process in cluster.nodes.items()}
        by_cluster = SecretFile(plan.nodes[0].folder / "cluster.secret").read()
        member = {
            "node_id": IMPERSONATED, "directory_id": held.directory_id, "incarnation": held.runs + 1000,
            "membership_index": held.membership.index,
        }  # fmt: skip
        founder = held.membership.founder
        dice = random.Random(seed)
        fuzz = Fuzz(plan, dice, Anything(dice, held.term, held.last_index))
        insider = Secrets(by_cluster, b"guessed")
        outsiders = (
            Role("no secret", Secrets(b"", b""), member | {"founder": founder}),
            Role("a wrong secret", Secrets(b"guessed", b"guessed"), member | {"founder": founder}),
            Role("the cluster's secret", insider),
            Role("the cluster's secret, as a member", insider, member | {"founder": founder}),
            Role("the cluster's secret, as a member that has heard of no group", insider, member),
        )
        for round_of in ("all nodes run", "one is stopped"):
            if round_of == "one is stopped":
                await stopped_and_read(cluster)
            for role in outsiders:
                names = [name for name in memory_kib if cluster.nodes[name].alive and name != role.hello.get("node_id")]
                speaking = (fuzz.sessions(role, name, OUTSIDERS_SESSIONS) for name in names)
                await asyncio.gather(*speaking, witness.write(3))
                assert not fuzz.linked, (round_of, fuzz.linked)
        await start(cluster, IMPERSONATED)  # it may come back after all that was said in its name
        check_running(cluster, {name: kib for name, kib in memory_kib.items() if name != IMPERSONATED})
        await witness.look()
        assert max((await witness.terms()).values()) < FORGED_TERM_MIN, "who is no member has moved a term"

        held = await stopped_and_read(cluster)
        del memory_kib[IMPERSONATED]
        fuzz.anything.term, fuzz.anything.index = held.term, held.last_index
        both = Secrets(by_cluster, held.membership.secret)
        unknown = Role("an unknown node of the group", both, {"founder": founder}, is_of_group=True)
        del member["incarnation"]
        fuzz.runs = held.runs + 1
        stopped = Role("a member that is stopped", both, member | {"founder": founder}, is_of_group=True)
        for role in (unknown, stopped):
            for name in memory_kib:
                await fuzz.sessions(role, name, INSIDERS_SESSIONS)
            await witness.write(5)
        assert {unknown.name, stopped.name} <= fuzz.linked.keys(), "else the fuzz has reached nobody"
        check_running(cluster, memory_kib)
        await witness.look()

        for name in memory_kib:  # they start, elect, write and read
            assert await cluster.nodes[name].terminate() == 0
            cluster.nodes[name].start()
            await witness.write(5)
        await witness.look()


async def stopped_and_read(cluster: LocalCluster) -> Directory:
    process = cluster.nodes[IMPERSONATED]
    assert await process.terminate() == 0
    return Directory.read(process.plan.data_dir)


async def start(cluster: LocalCluster, name: NodeId) -> None:
    cluster.nodes[name].start()
    await cluster.until_serving(60.0)
