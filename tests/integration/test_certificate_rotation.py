"""Authority and all certificates of a running cluster are replaced as docs/operating.md says, and nobody notices."""

import asyncio
import logging
import os
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from replicator.client import Client, ClientTls, connect
from replicator.dev import ClusterPlan, LocalCluster, NodePlan, plan_cluster
from replicator.model.errors import ReplicatorError, Unavailable
from replicator.model.ids import NodeId, node_certificate_name
from tests.support.authority import DAY, Authority, client_tls, put, put_pair, tls_files
from tests.support.real_nodes import http_get, start_serve, until, until_exit, until_ready

pytestmark = pytest.mark.process

TLS = '[tls]\nca_file = "tls/ca.pem"\ncert_file = "tls/cert.pem"\nkey_file = "tls/key.pem"\nadmin = true\n'
TAKEN, TAKEN_BY_CLIENT = "new certificates are in force", "new certificate files are in force for new connections"
CLIENTS = 3


@dataclass
class Traffic:
    """Reads and writes of several clients, one call after the other; what failed, and how many did not."""

    done: int = 0
    failures: list[str] = field(default_factory=list)
    is_over: bool = False

    async def run(self, endpoints: list[str], region: str, tls: ClientTls, name: bytes) -> None:
        async with connect(endpoints, region, tls=tls, timeout_s=30.0) as client:
            while not self.is_over:
                try:
                    written = await client.put(name, b"%d" % self.done)
                    got = await client.get(name, token=written.token)
                    assert got.mod_revision >= written.revision
                    self.done += 2
                except ReplicatorError as error:
                    self.failures.append(f"{name!r}: {error.reason}: {error.message}")


@asynccontextmanager
async def traffic_on(cluster: LocalCluster, tls: ClientTls) -> AsyncIterator[Traffic]:
    """Goes on within the block."""
    traffic = Traffic()
    regions = [process.plan.region for process in cluster.nodes.values()]
    tasks = [
        asyncio.create_task(traffic.run(cluster.endpoints(), region, tls, b"%s/%d" % (region.encode(), number)))
        for region in regions
        for number in range(CLIENTS)
    ]
    try:
        yield traffic
    finally:
        traffic.is_over = True
        await asyncio.gather(*tasks)


@dataclass
class Rotation:
    """One after the other: every node is given a file, and takes it by signal or by looking."""

    cluster: LocalCluster
    rounds: int = 0

    async def nodes(self, change: Callable[[NodePlan], object]) -> None:
        self.rounds += 1
        for number, process in enumerate(self.cluster.nodes.values()):
            change(process.plan)
            if (number + self.rounds) % 2:
                os.kill(process.pid, signal.SIGHUP)
            await self.until_taken(process.plan)

    async def until_taken(self, plan: NodePlan) -> None:
        await until(lambda: count(plan, TAKEN) == self.rounds, f"{plan.id} takes what is new, round {self.rounds}")


def lines(plan: NodePlan, part: str) -> list[str]:
    return [line for line in plan.log_file.read_text().splitlines() if part in line]


def count(plan: NodePlan, part: str) -> int:
    return len(lines(plan, part))


def a_plan(directory: Path, authority: Authority) -> ClusterPlan:
    plan = replace(plan_cluster(directory, ["eu", "us", "ap"], profile="wan"), more_toml=TLS)
    for node in plan.nodes:
        tls_files(node.folder / "tls", authority.pem, authority.node(node.id, plan.cluster_id))
    return plan


async def is_accepted(address: str, tls: ClientTls, name: str) -> bool:
    """By a gRPC port: one that refuses a certificate hangs up after the handshake, one that takes it speaks HTTP/2."""
    context = ssl.create_default_context(cafile=tls.ca_file)
    assert tls.cert_file is not None
    context.load_cert_chain(tls.cert_file, tls.key_file)
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)
    try:
        async with asyncio.timeout(20):
            return await reader.read(1) != b""
    except ConnectionError:
        return False
    finally:
        writer.close()


async def test_authority_and_certificates_are_replaced_under_load_without_a_dropped_call_or_link(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    old, new = Authority("orders authority 1"), Authority("orders authority 2")
    plan = a_plan(tmp_path / "cluster", old)
    app = tmp_path / "app"
    mine = client_tls(app, old.pem, old.client("app"))
    client_rounds = 0

    def by_clients() -> int:
        return sum(record.message == TAKEN_BY_CLIENT for record in caplog.records)

    async with LocalCluster(plan, tls=mine) as cluster:
        rotation = Rotation(cluster)
        parties = CLIENTS * 3 + len(await cluster.statuses())  # those of the traffic, and the cluster's own
        async with traffic_on(cluster, mine) as traffic:

            async def until_clients_have_it() -> None:
                nonlocal client_rounds
                client_rounds += 1
                await until(lambda: by_clients() == client_rounds * parties, "clients take what is new")

            async def until_more_is_done() -> None:
                enough = traffic.done + 100
                await until(lambda: traffic.done >= enough or bool(traffic.failures), "traffic goes on")

            await until_more_is_done()
            # Streams that crossed while the nodes started have become one link by now.
            links_lost_before = [line for node in plan.nodes for line in lines(node, "link down")]
            await a_signal_without_a_new_file_changes_nothing(cluster)
            # Both authorities, everywhere.
            await rotation.nodes(lambda node: put(node.folder / "tls/ca.pem", old.pem + new.pem))
            put(app / "ca.pem", old.pem + new.pem)
            await until_clients_have_it()
            # Certificates of the new one.
            await rotation.nodes(lambda node: put_pair(node.folder / "tls", new.node(node.id, plan.cluster_id)))
            put_pair(app, new.client("app"))
            await until_clients_have_it()
            await until_more_is_done()
            # The new one alone.
            await rotation.nodes(lambda node: put(node.folder / "tls/ca.pem", new.pem))
            put(app / "ca.pem", new.pem)
            await until_clients_have_it()
            await until_more_is_done()
        assert traffic.failures == []
        assert [line for node in plan.nodes for line in lines(node, "link down")] == links_lost_before

        await the_old_authority_is_refused(plan, tmp_path, old, new)
        # What is new from now on rests on the new authority alone.
        us = cluster.nodes[NodeId("us-1")]
        await us.terminate()
        us.start()
        await cluster.until_serving(30.0)


async def test_a_node_whose_certificate_has_expired_says_so_everywhere_and_recovers_without_a_restart(
    tmp_path: Path,
) -> None:
    authority = Authority()
    plan = replace(plan_cluster(tmp_path / "cluster", ["eu"]), more_toml=TLS.replace("true", "false"))
    plan.write()
    (node,) = plan.nodes
    mine = client_tls(tmp_path / "app", authority.pem, authority.client("app"))
    expired = authority.node(node.id, plan.cluster_id, begins=-3 * DAY, ends=-2 * DAY)
    tls_files(node.folder / "tls", authority.pem, expired)
    process = start_serve(node.config_file, node.log_file)
    try:
        await until_ready(node)
        await until(lambda: count(node, "ERROR") == 1, "the node says that its certificate has expired")
        assert "the certificate of tls.cert_file has expired" in lines(node, "ERROR")[0]
        assert -2.1 < await days_of(node, "certificate") < -1.9
        async with connect([node.api], tls=mine, timeout_s=5.0) as client:
            with pytest.raises(Unavailable, match="the certificate shown there has expired: renew it there"):
                await client.get(b"k")
            put_pair(node.folder / "tls", authority.node(node.id, plan.cluster_id, ends=20 * DAY))
            await until(lambda: count(node, TAKEN) == 1, "the node takes the new certificate")
            await client.put(b"k", b"v", timeout_s=20.0)
        assert 19.9 < await days_of(node, "certificate") < 20.1
        assert await days_of(node, "authority") > 300
    finally:
        process.terminate()
        assert await until_exit(process) == 0


async def days_of(node: NodePlan, file: str) -> float:
    _, metrics = await http_get(node.admin, "/metrics")
    name = f'replicator_tls_certificate_expiry_days{{file="{file}"}} '
    return next(float(line.removeprefix(name)) for line in metrics.splitlines() if line.startswith(name))


async def a_signal_without_a_new_file_changes_nothing(cluster: LocalCluster) -> None:
    for process in cluster.nodes.values():
        os.kill(process.pid, signal.SIGHUP)
    for process in cluster.nodes.values():
        await until(partial(has_looked, process.plan), f"{process.plan.id} says that it looked")


def has_looked(plan: NodePlan) -> bool:
    return count(plan, "asked for new certificates: no file has changed") == 1


async def the_old_authority_is_refused(plan: ClusterPlan, folder: Path, old: Authority, new: Authority) -> None:
    """On all ports; who shows a certificate of the new one is accepted."""
    both = old.pem + new.pem
    for node in plan.nodes:
        name = node_certificate_name(node.id, plan.cluster_id)
        for authority, is_good in ((old, False), (new, True)):
            as_client = client_tls(folder / "client", both, authority.client("app"))
            as_peer = client_tls(folder / "peer", both, authority.node(plan.nodes[0].id, plan.cluster_id))
            assert await is_accepted(node.api, as_client, name) is is_good, f"{node.id} api"
            assert await is_accepted(node.peer, as_peer, name) is is_good, f"{node.id} peer"
            assert await is_trusted(node.admin, authority) is is_good, f"{node.id} admin"
    outdated = client_tls(folder / "outdated", both, old.client("app"))
    async with connect([node.api for node in plan.nodes], tls=outdated, timeout_s=5.0) as client:
        async with asyncio.timeout(60):  # a handshake that takes a busy node too long tells nothing of certificates
            while "may be of an authority that is not trusted there" not in await refusal_of(client):
                pass


async def refusal_of(client: Client) -> str:
    with pytest.raises(Unavailable) as caught:
        await client.get(b"eu/0")
    return str(caught.value)


async def is_trusted(address: str, authority: Authority) -> bool:
    """What the admin port shows."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cadata=authority.pem.decode())
    try:
        _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    except ssl.SSLCertVerificationError:
        return False
    writer.close()
    return True
