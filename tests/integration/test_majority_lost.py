"""Real processes: two of three are lost for good, and the data of the third one go on as a new group."""

import asyncio
import shutil
from pathlib import Path

import pytest

import replicator
from replicator.dev import LocalCluster, NodePlan, NodeProcess, plan_cluster
from replicator.model.ids import NodeId
from replicator.model.limits import TERM_MAX
from tests.support.exports import read_back
from tests.support.real_nodes import Ended, one_node, run_cli, start_serve, tail_of, until, until_exit, until_ready
from tests.support.tampering import forge_hard_state

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

REGIONS = ("eu", "us", "ap")
EU, US, AP = NodeId("eu-1"), NodeId("us-1"), NodeId("ap-1")
KEYS = 60


async def cli(*arguments: str) -> Ended:
    return await asyncio.to_thread(run_cli, *arguments)


async def recovered(plan: NodePlan) -> str:
    """By the command, after it has said what it would do; what it says that it did."""
    told = await cli("recover", "--config", str(plan.config_file))
    assert told.code == 2, told
    assert "would found: a new group of" in told.stdout
    assert "to do this, add --accept-data-loss" in told.stderr
    done = await cli("recover", "--config", str(plan.config_file), "--accept-data-loss")
    assert done.code == 0, done
    assert "founded: a new group of" in done.stdout
    return done.stdout


async def lose_the_majority(cluster: LocalCluster, aside: Path) -> str:
    """The third node holds KEYS writes that were acknowledged; then the others and their data are gone.

    Returns a token of the old group.
    """
    async with replicator.connect(cluster.endpoints()) as client:
        for number in range(KEYS):
            put = await client.put(b"key/%d" % number, b"%d" % number)
    async with replicator.connect([cluster.nodes[AP].plan.api]) as one:
        await one.get(b"key/0", token=put.token)
    for name in (EU, US, AP):
        await cluster.nodes[name].kill9()
    for name in (EU, US):
        cluster.nodes[name].plan.data_dir.rename(aside / name)
    return put.token


def log_of(cluster: LocalCluster, name: NodeId) -> str:
    return cluster.nodes[name].plan.log_file.read_text()


async def test_a_survivor_goes_on_alone_with_every_acknowledged_write(tmp_path: Path) -> None:
    async with LocalCluster(plan_cluster(tmp_path / "cluster", REGIONS)) as cluster:
        token = await lose_the_majority(cluster, tmp_path)
        plan = cluster.nodes[AP].plan
        said = await recovered(plan)
        assert "ap-1, eu-1, us-1" in said, said

        cluster.nodes[AP].start()
        await until_ready(plan)
        async with replicator.connect([plan.api]) as client:
            for number in range(KEYS):
                read = await client.get(b"key/%d" % number, consistency=replicator.LINEARIZABLE)
                assert read.value == b"%d" % number
            put = await client.put(b"after", b"1")
            assert (await client.get(b"after", token=put.token)).value == b"1"
            with pytest.raises(replicator.InvalidToken):
                await client.get(b"after", token=token)
            status = await client.status()
            assert (status.role, [member.node_id for member in status.members]) == ("leader", [AP])


async def test_an_old_node_is_refused_by_the_new_group_and_elects_nobody(tmp_path: Path) -> None:
    async with LocalCluster(plan_cluster(tmp_path / "cluster", REGIONS)) as cluster:
        await lose_the_majority(cluster, tmp_path)
        await recovered(cluster.nodes[AP].plan)
        cluster.nodes[AP].start()
        await until_ready(cluster.nodes[AP].plan)

        (tmp_path / EU).rename(cluster.nodes[EU].plan.data_dir)
        cluster.nodes[EU].start()
        for name in (AP, EU):
            await until(lambda name=name: "OTHER_GROUP" in log_of(cluster, name), f"{name} to say so")  # type: ignore[misc]
        old = await cluster.status(EU)
        assert (old.role, old.leader_id) == ("candidate", "") or old.role == "follower"
        assert (await cluster.status(AP)).role == "leader"
        async with replicator.connect([cluster.nodes[AP].plan.api]) as client:
            await client.put(b"after", b"1")


async def test_the_others_join_with_empty_directories(tmp_path: Path) -> None:
    async with LocalCluster(plan_cluster(tmp_path / "cluster", REGIONS)) as cluster:
        await lose_the_majority(cluster, tmp_path)
        await recovered(cluster.nodes[AP].plan)
        cluster.nodes[AP].start()
        await until_ready(cluster.nodes[AP].plan)
        for name in (EU, US):
            plan = cluster.nodes[name].plan
            plan.log_file.write_text("")
            cluster.nodes[name] = NodeProcess(plan, ["--join"])
            cluster.nodes[name].start()
            await until(lambda name=name: "full member as voter" in log_of(cluster, name), f"{name} to vote")  # type: ignore[misc]
        async with replicator.connect(cluster.endpoints()) as client:
            put = await client.put(b"after", b"1")
        for name in (EU, US, AP):
            async with replicator.connect([cluster.nodes[name].plan.api]) as one:
                assert (await one.get(b"after", token=put.token)).value == b"1"
        hashes = {(await cluster.status(name, state_hash=True)).state_hash for name in (EU, US, AP)}
        assert len(hashes) == 1


async def a_run(plan: NodePlan) -> None:
    """The node serves, takes a write, and ends in order."""
    process = start_serve(plan.config_file, plan.log_file)
    try:
        await until_ready(plan)
        async with replicator.connect([plan.api]) as client:
            await client.put(b"k", b"v")
    finally:
        process.terminate()
        assert await until_exit(process) == 0, tail_of(plan.log_file)


async def test_a_forged_term_is_told_in_one_line_and_recovered_from(tmp_path: Path) -> None:
    """What one forged message once did to all three nodes of a cluster, for good."""
    plan = one_node(tmp_path)
    await a_run(plan)
    forge_hard_state(plan.data_dir, term=2**64 - 2)

    refused = await cli("serve", "--config", str(plan.config_file))
    assert (refused.code, refused.stderr.count("\n")) == (2, 1), refused
    assert f"term {2**64 - 2} is out of range, the greatest is {TERM_MAX}" in refused.stderr
    assert "`replicator recover` gets the cluster back" in refused.stderr
    assert "report" not in refused.stderr

    await recovered(plan)
    await a_run(plan)
    shown = await cli("export", "--data-dir", str(plan.data_dir))
    assert [kv.key for kv in read_back(shown.stdout.encode())[1]] == [b"k"]


async def test_recovering_again_and_again_is_safe(tmp_path: Path) -> None:
    plan = one_node(tmp_path)
    await a_run(plan)
    for _ in range(2):
        await recovered(plan)
        await recovered(plan)
        await a_run(plan)


async def test_nothing_is_recovered_under_a_running_node_or_from_another_nodes_data(tmp_path: Path) -> None:
    plan = one_node(tmp_path)
    process = start_serve(plan.config_file, plan.log_file)
    try:
        await until_ready(plan)
        for flags in ((), ("--accept-data-loss",)):
            refused = await cli("recover", "--config", str(plan.config_file), *flags)
            assert (refused.code, refused.stdout) == (2, "")
            assert f"in use by process {process.pid}" in refused.stderr
    finally:
        process.terminate()
        assert await until_exit(process) == 0
    before = (plan.data_dir / "data.mdb").read_bytes()
    text = plan.config_file.read_text()
    plan.config_file.write_text(text.replace('"eu-1"', '"eu-9"'))
    refused = await cli("recover", "--config", str(plan.config_file), "--accept-data-loss")
    assert refused.code == 2
    assert "of node eu-1, this node is eu-9" in refused.stderr
    assert (plan.data_dir / "data.mdb").read_bytes() == before
    shutil.rmtree(plan.data_dir)
    plan.config_file.write_text(text)
    refused = await cli("recover", "--config", str(plan.config_file), "--accept-data-loss")
    assert "holds no data.mdb" in refused.stderr
    assert not plan.data_dir.exists()
