"""Old copies of data directories are put back under a majority: who holds more says so, and never acts again."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from replicator.config.timing import RaftTiming
from replicator.model.errors import DataDirectoryError, HistoryReplaced, Superseded
from replicator.model.ids import ClusterId, LogIndex, NodeId, Term
from replicator.model.log import TurnWrite
from replicator.storage.storage import Storage
from tests.support.commands import put
from tests.support.engines import EngineNet
from tests.support.links import until
from tests.support.replicas import NAMES

A, B, C = NAMES[:3]
LONG_S = 20.0
PATIENT = RaftTiming(heartbeat_s=0.05, election_timeout_min_s=2.0, election_timeout_max_s=4.0)  # one term is enough


async def write(net: EngineNet, *keys: bytes) -> None:
    """Each key through the leader, applied everywhere."""
    await until(lambda: net.leader() is not None)
    leader = net.leader()
    assert leader is not None
    for key in keys:
        outcome = await net[leader].propose(put(key), timeout_s=LONG_S)
        for name in net.nodes:
            await net[name].wait_applied(LogIndex(outcome.index), timeout_s=LONG_S)


async def until_it_ends(net: EngineNet, name: NodeId) -> HistoryReplaced:
    with pytest.raises(HistoryReplaced) as ended:
        await net[name].wait_failed()
    return ended.value


async def test_old_copies_under_a_majority_are_noticed_by_the_node_that_holds_more(tmp_path: Path) -> None:
    net = EngineNet(tmp_path, [A, B, C])
    await net.start()
    await write(net, b"before")
    await net.stop()
    for name in (B, C):
        shutil.copytree(tmp_path / name, tmp_path / f"copy-{name}")
    net = EngineNet(tmp_path, [A, B, C])
    await net.start()
    await write(net, *(b"acknowledged-%d" % number for number in range(8)))
    await net.stop()
    for name in (B, C):
        shutil.rmtree(tmp_path / name)
        (tmp_path / f"copy-{name}").rename(tmp_path / name)

    net = EngineNet(tmp_path, [A, B, C])
    await net.start(B, C)
    for _ in range(3):  # newer terms than those of the writes that were lost
        await write(net, *(b"another-%d" % number for number in range(4)))
        await net.stop()
        net = EngineNet(tmp_path, [A, B, C])
        await net.start(B, C)
    await write(net, b"after")
    await net.start(A)
    before = net.nodes[A].storage.hard_state()
    replaced = await until_it_ends(net, A)

    assert replaced.index <= before.commit_index
    assert net.nodes[A].storage.hard_state().commit_index == before.commit_index
    await write_without(net, A)
    with pytest.raises(Superseded):  # no vote and no acknowledgement becomes durable there, so none leaves it
        net.nodes[A].storage.commit(TurnWrite(hard_state=replace(before, term=Term(before.term + 9), voted_for=None)))
    await net.stop()
    with pytest.raises(DataDirectoryError, match=f"another history .*entry {replaced.index} of term {replaced.term}"):
        Storage.open(tmp_path / A, cluster_id=ClusterId("c"), node_id=A, size_max_bytes=1 << 26)


async def test_an_old_copy_under_a_follower_is_noticed_by_its_leader_which_ends_the_link(tmp_path: Path) -> None:
    """In the term in which it acknowledged more: it has forgotten whom it voted for, too."""
    net = EngineNet(tmp_path, [A, B, C], timing=PATIENT)
    await net.start()
    await write(net, b"before")
    leader = net.leader()
    assert leader is not None
    old, other = (name for name in net.names if name != leader)
    term = net[leader].status().term
    await net.nodes[old].stop()
    shutil.copytree(tmp_path / old, tmp_path / "copy")
    for peer in (leader, other):
        net.unlink(old, peer)
    await net.start(old)
    await write(net, b"acknowledged")
    await net.nodes[old].stop()
    for peer in (leader, other):
        net.unlink(old, peer)
    shutil.rmtree(tmp_path / old)
    (tmp_path / "copy").rename(tmp_path / old)

    net.condemned = []
    await net.start(old)
    await until(lambda: bool(net.condemned))
    assert net.condemned[0][:2] == (leader, old)
    assert "its data were lost, or replaced by an older copy" in net.condemned[0][2]
    assert net[leader].status().term == term, "otherwise the test has shown nothing"
    outcome = await net[leader].propose(put(b"goes-on"), timeout_s=LONG_S)
    assert net[old].applied_index < outcome.index
    await net.stop()


async def write_without(net: EngineNet, name: NodeId) -> None:
    """The others go on."""
    await until(lambda: net.leader() not in (None, name))
    leader = net.leader()
    assert leader is not None
    await net[leader].propose(put(b"goes-on"), timeout_s=LONG_S)
