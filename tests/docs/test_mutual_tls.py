"""Mutual TLS as docs/operating.md says: certificates made and rotated by its commands, used by three real nodes."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import replicator
from replicator.dev import ClusterPlan, plan_cluster
from replicator.model.ids import ClusterId
from tests.docs.pages import blocks
from tests.docs.transcripts import Shell, shell_environment
from tests.support.real_nodes import start_serve, tail_of, until, until_exit, until_ready

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]


async def test_three_nodes_serve_with_the_certificates_of_the_page(tmp_path: Path) -> None:
    """Those who have a certificate get in; those who have none, or speak plaintext, do not."""
    make, snippet, use, *rotation = (block for block in blocks("docs/operating.md") if block.mark.startswith("run: "))
    Shell(tmp_path, shell_environment()).take([make, snippet]).run()
    plan = replace(plan_cluster(tmp_path, ["eu", "us", "ap"], profile="wan"), cluster_id=ClusterId("orders"))
    plan.write()
    tls = (tmp_path / "tls.toml").read_text().replace('_file = "', '_file = "../')
    nodes = []
    try:
        for node in plan.nodes:
            node.config_file.write_text(plan.toml_of(node) + "\n" + tls.replace("eu-1", node.id))
            nodes.append(start_serve(node.config_file, node.log_file))
        for node in plan.nodes:
            await until_ready(node)
        endpoints = [node.api for node in plan.nodes]

        environment = shell_environment() | {"REPLICATOR_ENDPOINTS": ",".join(endpoints)}
        Shell(tmp_path, environment).take([use]).run()

        files = {name: str(tmp_path / file) for name, file in _FILES}
        async with replicator.connect(endpoints, tls=replicator.ClientTls(**files)) as client:
            assert (await client.get(b"lamp", consistency=replicator.LINEARIZABLE)).value == b"40"
        for wrong_tls in (None, replicator.ClientTls(ca_file=files["ca_file"])):
            async with replicator.connect(endpoints, tls=wrong_tls, timeout_s=1.5) as client:
                with pytest.raises(replicator.Unavailable):
                    await client.get(b"lamp")

        outdated = {name: str(shutil.copy(file, f"{file}.old")) for name, file in files.items() if name != "ca_file"}
        for done, step in enumerate(rotation):
            Shell(tmp_path, environment).take([step]).run()
            await until_taken(plan, done + 1)
        async with replicator.connect(endpoints, tls=replicator.ClientTls(**files)) as client:
            assert (await client.get(b"lamp", consistency=replicator.LINEARIZABLE)).value == b"40"
        old_client = replicator.ClientTls(files["ca_file"], **outdated)
        async with replicator.connect(endpoints, tls=old_client, timeout_s=1.5) as client:
            with pytest.raises(replicator.Unavailable):
                await client.get(b"lamp")
    finally:
        for process in nodes:
            process.terminate()
        codes = [await until_exit(process) for process in nodes]
    assert codes == [0, 0, 0], "\n".join(tail_of(node.log_file) for node in plan.nodes)


async def until_taken(plan: ClusterPlan, times: int) -> None:
    """What the page says to wait for."""

    def have_all() -> bool:
        return all(node.log_file.read_text().count("new certificates are in force") == times for node in plan.nodes)

    await until(have_all, f"all nodes take new certificates, time {times}")


_FILES = (("ca_file", "ca.pem"), ("cert_file", "shop.pem"), ("key_file", "shop.key"))
