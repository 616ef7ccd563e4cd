"""Links follow a membership that changes while the nodes run."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from benchmarks.delay_proxy import DelayProxy
from replicator.model.ids import LogIndex, NodeId, Region
from replicator.model.members import Membership
from replicator.transport.handshake.known_peers import KnownPeers
from replicator.transport.links.roster import UNKNOWN_NODES_MAX
from replicator.transport.peer_transport import PeerTransport
from replicator.transport.ports import FetchFailure, SnapshotUnavailable
from replicator.transport.settings import PeerAddress
from tests.integration.test_peer_refusals import certificate, warnings
from tests.support.authority import Authority
from tests.support.links import (
    FOUNDER,
    QUICK,
    HandDriven,
    Links,
    RecordingSink,
    RunsInMemory,
    a_hello,
    a_membership,
    directory_of,
    is_linked,
    peers_of,
    until,
)
from tests.support.snapshots import ID, Shelf, a_server, some_bytes

N0, N1, N2, N3, N9 = (NodeId(name) for name in ("n0", "n1", "n2", "n3", "n9"))
WIPED = b"0123456789abcdef"


@pytest.fixture
async def links() -> AsyncIterator[Links]:
    async with Links() as running:
        yield running


def count(caplog: pytest.LogCaptureFixture, start: str) -> int:
    """Lines of any level."""
    return sum(record.message.startswith(start) for record in caplog.records)


def a_joiner(node: str, contact: str, port: int) -> KnownPeers:
    """A node that knows nobody but one contact."""
    row = PeerAddress(NodeId(contact), Region("eu"), f"127.0.0.1:{port}")
    return KnownPeers(peers_of(node, {}, contacts=(row,)).settings, Membership(LogIndex(0), ()))


async def three(links: Links) -> tuple[dict[str, PeerTransport], dict[str, RecordingSink], dict[str, int]]:
    """n1, n2 and n3, linked in pairs; and their ports."""
    sinks = {name: RecordingSink() for name in ("n1", "n2", "n3")}
    ports: dict[str, int] = {}
    nodes: dict[str, PeerTransport] = {}
    for name, sink in sinks.items():
        peers = {peer: ports.get(peer, 1) for peer in sinks if peer != name}
        nodes[name] = await links.start(peers_of(name, peers), sink)
        ports[name] = nodes[name].bound_port
    for node in nodes.values():
        node.set_membership(a_membership(ports, index=5))
    await until(lambda: all(status.connected for node in nodes.values() for status in node.links().values()))
    return nodes, sinks, ports


@pytest.mark.parametrize("newcomer", ["n0", "n3"])
async def test_a_node_that_joins_by_a_contact_is_linked_with_all_once_the_group_knows_it(
    links: Links, caplog: pytest.LogCaptureFixture, newcomer: str
) -> None:
    """Whether its id is greater than the others' or less."""
    caplog.set_level(logging.DEBUG, "replicator.transport")
    one, sink_1, two, sink_2 = await links.pair()
    sink = RecordingSink()
    joiner = await links.start(a_joiner(newcomer, "n1", one.bound_port), sink)
    await until(lambda: count(caplog, f"refusing peer='{newcomer}'") >= 3)
    assert sink.calls == []
    assert warnings(caplog, "refused by peer=n1") == [], "it has not asked the group yet"

    ports = {"n1": one.bound_port, "n2": two.bound_port, newcomer: joiner.bound_port}
    for node in (one, two):
        node.set_membership(a_membership(ports, index=5))
    await until(lambda: is_linked(joiner, "n1") and is_linked(one, newcomer))
    assert one.send(NodeId(newcomer), b"the membership, as applied")
    await until(lambda: sink.frames.get("n1") == [b"the membership, as applied"])
    joiner.set_membership(a_membership(ports, index=5))
    await until(lambda: is_linked(joiner, "n2") and is_linked(two, newcomer))

    assert joiner.send(N2, b"hello")
    await until(lambda: sink_2.frames.get(newcomer) == [b"hello"])
    assert sink_1.directories[newcomer] == directory_of(newcomer)
    assert [call for call in sink_1.calls if call[1] == "n2"] == [("up", "n2", 1)], "the others did not notice"


async def test_a_joining_node_reaches_those_whom_only_the_groups_answer_names(links: Links, tmp_path: Path) -> None:
    """The source of its snapshot, say: the membership that says where that one is comes with the snapshot."""
    content = some_bytes(300_000)
    source = await a_server(links, Shelf().put(tmp_path, content))
    contact = await links.start(peers_of("n2", {"n1": source.bound_port}), RecordingSink())
    joiner = await links.start(a_joiner("n3", "n2", contact.bound_port), RecordingSink())
    now = a_membership({"n1": source.bound_port, "n2": contact.bound_port, "n3": joiner.bound_port}, index=5)
    for node in (source, contact):
        node.set_membership(now)
    await until(lambda: is_linked(joiner, "n2"))
    with pytest.raises(SnapshotUnavailable, match="not known here by an address"):
        await joiner.fetch_snapshot(N1, ID, target=tmp_path / "x", size_bytes=len(content), timeout_s=10.0)

    joiner.set_guide(now)
    await joiner.fetch_snapshot(N1, ID, target=tmp_path / "x", size_bytes=len(content), timeout_s=10.0)
    assert (tmp_path / "x").read_bytes() == content
    await until(lambda: is_linked(joiner, "n1") and is_linked(source, "n3"))

    joiner.set_membership(a_membership({"n2": contact.bound_port, "n3": joiner.bound_port}, index=6))
    assert N1 not in joiner.links(), "what it was told is outdated"


async def test_a_removed_node_is_taken_down_and_told_why_it_does_not_get_back(
    links: Links, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "replicator.transport")
    nodes, sinks, ports = await three(links)
    left = a_membership({name: ports[name] for name in ("n1", "n2")}, index=6)

    assert nodes["n1"].send(N3, b"you are removed")
    for name in ("n1", "n2"):
        nodes[name].set_membership(left)
        assert "n3" not in sinks[name].up
        assert N3 not in nodes[name].links()
        assert not nodes[name].send(N3, b"x")

    await until(lambda: sinks["n3"].up == {})
    assert sinks["n3"].frames == {"n1": [b"you are removed"]}, "what was queued still left"
    for peer in ("n1", "n2"):
        await until(lambda peer=peer: count(caplog, f"refused by peer={peer}") >= 3)  # type: ignore[misc]
        (told,) = warnings(caplog, f"refused by peer={peer}")
        assert "NOT_A_MEMBER: node 'n3' is not a member of cluster 'shop' as of membership 6" in told
        assert "stop it" in told
    assert count(caplog, "link down peer=n3 epoch=") == 2
    assert "why=NOT_A_MEMBER: node 'n3'" in caplog.text
    assert is_linked(nodes["n1"], "n2")
    assert is_linked(nodes["n2"], "n1")


async def test_a_node_that_is_removed_and_added_again_is_linked_again(links: Links) -> None:
    nodes, _, ports = await three(links)
    for index in (6, 8):
        nodes["n1"].set_membership(a_membership({name: ports[name] for name in ("n1", "n2")}, index=index))
        nodes["n1"].set_membership(a_membership(ports, index=index + 1))
        await until(lambda: is_linked(nodes["n1"], "n3") and is_linked(nodes["n3"], "n1"))


async def test_a_node_that_comes_back_under_another_address_is_dialled_there(links: Links) -> None:
    one, _, two, _ = await links.pair()
    await one.stop(0.2)
    await until(lambda: not is_linked(two, "n1"))
    again = await links.start(peers_of("n1", {"n2": 1}), RecordingSink())
    assert again.bound_port != one.bound_port
    two.set_membership(a_membership({"n1": again.bound_port, "n2": 1}, index=1))
    await until(lambda: is_linked(two, "n1") and is_linked(again, "n2"))


async def test_a_link_to_a_former_address_stays_until_the_new_one_is_reached(
    links: Links, caplog: pytest.LogCaptureFixture
) -> None:
    """A slip in an address must not cut a link that works; the log names it, though."""
    caplog.set_level(logging.DEBUG, "replicator.transport")
    one, _, two, sink_2 = await links.pair()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: connection refused
        slip = closed.getsockname()[1]
        two.set_membership(a_membership({"n1": slip, "n2": 1}, index=1))
        await until(lambda: count(caplog, f"cannot link peer=n1 address=127.0.0.1:{slip}") >= 3)
        assert sink_2.calls == [("up", "n1", 1)]

    async with DelayProxy(one.bound_port) as proxy:
        two.set_membership(a_membership({"n1": proxy.port, "n2": 1}, index=2))
        await until(lambda: two.links()[N1].epoch == 2)
        assert sink_2.calls == [("up", "n1", 1), ("down", "n1", 1), ("up", "n1", 2)]
    await until(lambda: ("down", "n1", 2) in sink_2.calls)  # with the proxy: the new link went that way


@pytest.mark.parametrize("wiped", ["n1", "n2"])
async def test_a_node_that_lost_its_disk_is_refused_until_the_group_knows_its_new_one(
    links: Links, caplog: pytest.LogCaptureFixture, wiped: str
) -> None:
    """Whichever of the two dials; both logs have the line, once, on whichever way it is met again."""
    caplog.set_level(logging.DEBUG, "replicator.transport")
    timers = replace(QUICK, late_dial_s=0.05)
    known = {name: directory_of(name) for name in ("n1", "n2")}
    sinks, nodes, ports = {"n1": RecordingSink(), "n2": RecordingSink()}, {}, {}
    for name, sink in sinks.items():
        known_peers = peers_of(name, {}, timers=timers, directory_id=WIPED if name == wiped else known[name])
        nodes[name] = await links.start(known_peers, sink)
        ports[name] = nodes[name].bound_port
    other = "n1" if wiped == "n2" else "n2"
    nodes[wiped].set_membership(a_membership(ports, founder=b""))  # it has forgotten what it once knew
    nodes[other].set_membership(a_membership(ports, index=5, directories=known))

    await until(lambda: count(caplog, f"refusing peer='{wiped}'") >= 3)
    await until(lambda: count(caplog, "refused by peer=") >= 3)
    (refusing,), (refused,) = warnings(caplog, "refusing peer="), warnings(caplog, "refused by peer=")
    for line in (refusing, refused):
        assert f"OTHER_DIRECTORY: node '{wiped}' comes with another data directory" in line
        assert "`replicator serve --join`" in line
    assert sinks[wiped].refused_by == {other: FOUNDER}
    assert sinks[other].refused_by == {}
    assert sinks[other].calls == []
    assert sinks[wiped].frames == {}

    nodes[other].set_membership(a_membership(ports, index=6, directories=known | {wiped: WIPED}))
    await until(lambda: is_linked(nodes["n1"], "n2") and is_linked(nodes["n2"], "n1"))
    assert sinks[other].directories == {wiped: WIPED}


async def test_a_link_from_a_directory_that_was_replaced_is_taken_down(links: Links) -> None:
    one, sink_1, _, _ = await links.pair()
    one.set_membership(a_membership({"n1": 1, "n2": 1}, index=5, directories={"n2": WIPED}))
    assert sink_1.calls == [("up", "n2", 1), ("down", "n2", 1)]
    await until(lambda: "OTHER_DIRECTORY" in (one.links()[N2].last_refusal or ""))


async def test_a_stranger_that_knows_a_newer_membership_is_let_in(links: Links) -> None:
    """n1 lags. What it learns then decides: a member keeps its link, one that is none loses it."""
    sink_1 = RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1}), sink_1)
    nine = await links.start(peers_of("n9", {"n1": one.bound_port}), RecordingSink())
    assert not is_linked(one, "n9")
    ports = {"n1": one.bound_port, "n9": nine.bound_port}
    nine.set_membership(a_membership(ports, index=6))
    await until(lambda: is_linked(nine, "n1") and is_linked(one, "n9"))
    assert one.send(N9, b"news?")

    one.set_membership(a_membership(ports, index=6))
    assert sink_1.calls == [("up", "n9", 1)]
    one.set_membership(a_membership({"n1": 1}, index=7))
    assert sink_1.calls == [("up", "n9", 1), ("down", "n9", 1)]
    assert N9 not in one.links()


async def test_strangers_beyond_the_bound_are_turned_away(links: Links, caplog: pytest.LogCaptureFixture) -> None:
    one = await links.start(peers_of("n1", {"n2": 1}), RecordingSink())
    unknown_nodes = [HandDriven(one.bound_port) for _ in range(UNKNOWN_NODES_MAX)]
    try:
        for number, unknown in enumerate(unknown_nodes):
            await unknown.shake_hands(node_id=f"s{number}", membership_index=1)
            await until(lambda number=number: is_linked(one, f"s{number}"))  # type: ignore[misc]
        async with HandDriven(one.bound_port) as late:
            with pytest.raises(grpc.aio.AioRpcError, match="no membership known here") as refused:
                await late.shake_hands(node_id="late", membership_index=1)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(warnings(caplog, "turned away peer='late'")) == 1
        async with HandDriven(one.bound_port) as member:
            await member.shake_hands()
            await until(lambda: is_linked(one, "n2"))
    finally:
        for unknown in unknown_nodes:
            await unknown.__aexit__()
    await until(lambda: list(one.links()) == ["n2"])


async def test_a_stranger_must_show_its_certificate_too(
    links: Links, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority, sink = Authority(), RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1}, tls=certificate(authority, tmp_path, "n1")), sink)
    nine = await links.start(peers_of("n9", {}, tls=certificate(authority, tmp_path, "n8")), RecordingSink())
    nine.set_membership(a_membership({"n1": one.bound_port, "n9": 1}, index=6))
    await until(lambda: len(warnings(caplog, "refused by peer=n1")) == 1)
    assert "IDENTITY" in warnings(caplog, "refused by peer=n1")[0]
    assert sink.calls == []


async def test_a_membership_may_come_at_any_time_of_a_transports_life(links: Links) -> None:
    before = asyncio.all_tasks()
    peer = await links.start(peers_of("n1", {"n2": 1}), RecordingSink())
    full, alone = a_membership({"n1": peer.bound_port, "n2": 1}, index=1), a_membership({"n2": 1}, index=2)
    known_peers, sink = peers_of("n2", {}), RecordingSink()
    two = PeerTransport(known_peers.settings, sink, links.dice, known_peers.membership, RunsInMemory())

    two.set_membership(alone)
    two.set_membership(full)
    starting = asyncio.create_task(two.start())
    await asyncio.sleep(0)
    two.set_membership(alone)
    two.set_membership(full)
    await starting
    await until(lambda: is_linked(two, "n1"))
    stopping = asyncio.create_task(two.stop(0.2))
    while not stopping.done():
        two.set_membership(alone)
        two.set_membership(full)
        await asyncio.sleep(0)
    two.set_membership(full)

    assert not two.send(N1, b"x")
    assert sink.up == {}
    await peer.stop(0.2)
    await until(lambda: asyncio.all_tasks() == before)


async def test_memberships_that_come_and_go_leave_no_task_behind(links: Links) -> None:
    before = asyncio.all_tasks()
    nodes, sinks, ports = await three(links)
    for index in range(6, 40):
        there = {name for name in ports if name == "n1" or index % 3 or links.dice.random() < 0.5}
        nodes["n1"].set_membership(a_membership({name: ports[name] for name in there}, index=index))
        for _ in range(links.dice.randrange(20)):
            await asyncio.sleep(0)
    for node in nodes.values():
        node.set_membership(a_membership(ports, index=40))
    await until(lambda: all(status.connected for node in nodes.values() for status in node.links().values()))
    for node in nodes.values():
        await node.stop(0.2)
    assert all(sink.up == {} for sink in sinks.values())
    await until(lambda: asyncio.all_tasks() == before)


async def test_a_fetch_follows_its_source_to_a_new_address_and_ends_when_it_is_removed(
    links: Links, tmp_path: Path
) -> None:
    data = some_bytes(1 << 20)
    one = await a_server(links, Shelf().put(tmp_path, data))
    two = await links.start(peers_of("n2", {"n1": 1}), RecordingSink())

    async def fetch(target: Path) -> None:
        await two.fetch_snapshot(N1, ID, target=target, size_bytes=len(data), timeout_s=60)

    moved = asyncio.create_task(fetch(tmp_path / "moved"))
    await asyncio.sleep(0)
    two.set_membership(a_membership({"n1": one.bound_port, "n2": 1}, index=1))
    await moved
    assert (tmp_path / "moved").read_bytes() == data

    two.set_membership(a_membership({"n1": 1, "n2": 1}, index=2))
    removed = asyncio.create_task(fetch(tmp_path / "removed"))
    await asyncio.sleep(0)
    two.set_membership(a_membership({"n2": 1}, index=3))
    with pytest.raises(SnapshotUnavailable, match="node n1 is not known here") as error:
        await removed
    assert error.value.reason is FetchFailure.GONE
    assert two.links() == {}


async def test_a_hello_of_an_older_kind_is_told_to_upgrade(links: Links) -> None:
    one = await links.start(peers_of("n1", {"n2": 1}), RecordingSink())
    async with HandDriven(one.bound_port) as peer:
        await peer.say(a_hello(directory_id=b""))
        refusal = (await peer.hear()).refusal
    assert (refusal.reason, "upgrade it" in refusal.message) == ("PROTOCOL_VERSION", True)
