"""Real processes: an attacker at the peer port fails at the first message, and nothing that follows has an effect."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest

import replicator
from replicator.client import ClientTls
from replicator.dev import ClusterPlan, LocalCluster, plan_cluster
from replicator.engine.raft.messages import encode
from replicator.machine.codec import encode_entry
from replicator.model.ids import NodeId, node_certificate_name
from replicator.model.limits import INDEX_MAX
from replicator.transport.handshake.proof import Secrets
from replicator.transport.handshake.secret_file import SecretFile
from replicator.v1 import peer_pb2, raft_pb2
from tests.support.authority import Authority, Issued, client_tls, tls_files
from tests.support.commands import put
from tests.support.links import HandDriven, a_hello, directory_of

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

REGIONS = ("eu", "us", "ap")
TLS = '[tls]\nca_file = "tls/ca.pem"\ncert_file = "tls/cert.pem"\nkey_file = "tls/key.pem"\n'
FORGED_KEY = b"forged"
NO_SECRETS = Secrets(b"", b"")


@dataclass(frozen=True)
class Attacker:
    """Somebody who dials peer ports. issued: the certificate that they show, if the ports speak TLS."""

    authority: Authority | None = None
    issued: Issued | None = None
    secrets: Secrets = NO_SECRETS

    def at(self, plan: ClusterPlan, node_id: NodeId) -> HandDriven:
        node = next(node for node in plan.nodes if node.id == node_id)
        if self.authority is None or self.issued is None:
            return HandDriven(node.peer_port)
        credentials = grpc.ssl_channel_credentials(self.authority.pem, self.issued.key, self.issued.certificate)
        return HandDriven(node.peer_port, credentials, node_certificate_name(node_id, plan.cluster_id))

    async def attack(self, plan: ClusterPlan, target: NodeId, **hello: Any) -> str:
        """Introduces itself, says what would harm most, and does not wait for leave. Why it was refused."""
        said = a_hello(cluster_id=plan.cluster_id, peer_id=target, **({"founder": b""} | hello))
        async with self.at(plan, target) as peer:
            await peer.say(said)
            try:
                answer = await peer.hear()
            except grpc.aio.AioRpcError as error:
                return error.code().name
            if answer.WhichOneof("body") == "welcome":
                await peer.prove(said, answer.welcome, self.secrets)
                answer = await peer.hear()
            assert answer.WhichOneof("body") == "refusal", answer
            await self._harm(peer)
        async with self.at(plan, target) as peer:
            await peer.say(said)
            await self._harm(peer)
        return answer.refusal.reason

    async def _harm(self, peer: HandDriven) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the stream may have ended
            await peer.prove(a_hello(), peer_pb2.Welcome(), self.secrets)
            for message in harmful():
                await peer.say(peer_pb2.LinkMessage(frame=encode(message)))


def harmful() -> list[raft_pb2.RaftMessage]:
    """What the engine of a node would act on, did they come from a member."""
    payload = encode_entry(1, [put(FORGED_KEY)])
    entry = raft_pb2.LogEntry(index=2, term=1 << 40, payload=payload)
    append = raft_pb2.AppendEntries(
        term=1 << 40, sequence=1, prev_index=1, prev_term=0, commit_index=2, entries=[entry]
    )
    return [
        raft_pb2.RaftMessage(append_entries=append),
        raft_pb2.RaftMessage(request_vote=raft_pb2.RequestVote(term=1 << 41, last_index=1 << 40, last_term=1 << 40)),
        raft_pb2.RaftMessage(stale_term=raft_pb2.StaleTerm(term=(1 << 64) - 2)),
    ]


@asynccontextmanager
async def unharmed(cluster: LocalCluster, tls: ClientTls | None = None) -> AsyncIterator[None]:
    """What holds before holds after: terms, leader, data; and every node can start again."""
    async with replicator.connect(cluster.endpoints(), tls=tls, timeout_s=60.0) as client:
        written = await client.put(b"kept", b"1")
    before = {name: status.term for name, status in (await cluster.statuses()).items()}
    yield
    assert {name: status.term for name, status in (await cluster.statuses()).items()} == before
    for process in cluster.nodes.values():
        async with replicator.connect([process.plan.api], tls=tls, timeout_s=60.0) as one:
            for consistency in (replicator.LOCAL, replicator.CAUSAL):
                assert (await one.get(FORGED_KEY, consistency=consistency)).value is None
            assert (await one.get(b"kept", token=written.token)).value == b"1"
    for process in cluster.nodes.values():
        assert await process.terminate() == 0
        process.start()
        await cluster.until_serving(60.0)
    async with replicator.connect(cluster.endpoints(), tls=tls, timeout_s=60.0) as client:
        assert (await client.get(b"kept", consistency=replicator.LINEARIZABLE)).value == b"1"


async def test_with_mutual_tls_only_the_certificate_of_a_node_gets_an_answer(tmp_path: Path) -> None:
    """A certificate of an API client fails at its first message, whatever name is in it and whatever it claims."""
    authority = Authority()
    plan = replace(plan_cluster(tmp_path / "cluster", REGIONS, profile="wan"), more_toml=TLS)
    for node in plan.nodes:
        tls_files(node.folder / "tls", authority.pem, authority.node(node.id, plan.cluster_id))
    mine = client_tls(tmp_path / "app", authority.pem, authority.client("app"))
    marked = node_certificate_name("eu-1", plan.cluster_id)
    async with LocalCluster(plan, tls=mine) as cluster, unharmed(cluster, mine):
        claims: list[dict[str, Any]] = [
            {"node_id": "zz-9", "membership_index": INDEX_MAX},
            {"node_id": "eu-1", "membership_index": INDEX_MAX},
            {"node_id": "eu-1"},
        ]
        for issued in (
            authority.client("app"),
            authority.issue("app", "eu-1"),
            authority.issue("app", marked, for_server=False),
            authority.node("zz-9", "another-cluster"),
        ):
            attacker = Attacker(authority, issued)
            for target in (NodeId("us-1"), NodeId("ap-1")):
                for claim in claims:
                    assert await attacker.attack(plan, target, **claim) == "IDENTITY", claim
        # The certificate of a node of this cluster that never was a member: a claim counts only with the group's proof.
        by_cluster = SecretFile(plan.nodes[0].folder / "cluster.secret").read()
        outsider = Attacker(authority, authority.node("zz-9", plan.cluster_id), Secrets(by_cluster, b""))
        for index, reason in ((0, "NOT_A_MEMBER"), (INDEX_MAX, "NOT_A_MEMBER"), ((1 << 64) - 1, "PROTOCOL_VERSION")):
            assert await outsider.attack(plan, NodeId("us-1"), node_id="zz-9", membership_index=index) == reason


async def test_without_tls_a_process_on_the_same_machine_needs_the_secret_of_the_cluster(tmp_path: Path) -> None:
    plan = plan_cluster(tmp_path, REGIONS, profile="wan")
    async with LocalCluster(plan) as cluster, unharmed(cluster):
        by_cluster = SecretFile(plan.nodes[0].folder / "cluster.secret").read()
        for target in (node.id for node in plan.nodes):
            other = next(node.id for node in plan.nodes if node.id != target)
            for secrets in (NO_SECRETS, Secrets(b"guessed", b"guessed")):
                attacker = Attacker(secrets=secrets)
                for claim in ({"node_id": "zz-9", "membership_index": INDEX_MAX}, {"node_id": other}):
                    reason = await attacker.attack(plan, target, **claim)
                    assert reason in ("NOT_PROVEN", "OTHER_DIRECTORY"), claim
            insider = Attacker(secrets=Secrets(by_cluster, b"guessed"))
            assert await insider.attack(plan, target, node_id="zz-9", membership_index=INDEX_MAX) == "NOT_A_MEMBER"
            claim = {"node_id": other, "membership_index": INDEX_MAX, "directory_id": directory_of(other)}
            reason = await insider.attack(
                plan, target, **claim
            )  # the lesser id of a pair dials in vain while it is linked
            assert reason in ("OTHER_DIRECTORY", "ALREADY_EXISTS")
