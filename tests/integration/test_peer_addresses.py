"""A peer that is not where the group knows it is found where the own file lists it, over real sockets."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from replicator.dev.tcp_ports import free_ports
from replicator.model.ids import NodeId
from replicator.transport.ports import FetchFailure, SnapshotUnavailable
from tests.support.links import Links, RecordingSink, a_membership, is_linked, peers_of, until
from tests.support.snapshots import ID, Shelf, a_server, fetch, some_bytes

N1, N2 = NodeId("n1"), NodeId("n2")


@pytest.fixture
async def links() -> AsyncIterator[Links]:
    async with Links() as running:
        yield running


def at(port: int) -> dict[NodeId, str]:
    """What the file of n2 lists."""
    return {N1: f"127.0.0.1:{port}"}


def warnings(caplog: pytest.LogCaptureFixture, start: str) -> list[str]:
    return [r.message for r in caplog.records if r.levelno == logging.WARNING and r.message.startswith(start)]


async def test_the_link_comes_on_the_address_of_the_file_and_is_kept_once_the_group_knows_it(
    links: Links, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "replicator.transport")
    (nobody,) = free_ports(1)
    one = await links.start(peers_of("n1", {"n2": 1}), RecordingSink())
    two = await links.start(peers_of("n2", {"n1": nobody}, listed=at(one.bound_port)), RecordingSink())
    await until(lambda: is_linked(two, "n1"))

    listed = f"127.0.0.1:{one.bound_port}"
    assert two.linked_at() == {N1: listed}
    assert one.linked_at() == {}, "it was dialled"
    said = f"link up peer=n1 epoch=1 address={listed}, of this node's own file; the group knows address="
    assert [r.message for r in caplog.records if r.message.startswith("link up peer=n1")] == [
        f"{said}127.0.0.1:{nobody}"
    ]

    two.set_membership(a_membership({"n1": one.bound_port, "n2": 1}, index=1))
    assert two.linked_at() == {}
    assert two.send(N1, b"on the same link")
    await until(lambda: one.links()[N2].frames_received == 1)
    assert two.links()[N1].links == 1, "nothing is gained by a new link to the same address"


async def test_a_link_serves_on_while_the_groups_newest_address_is_not_reached(
    links: Links, caplog: pytest.LogCaptureFixture
) -> None:
    """It came on the file's address, to which no second link is made meanwhile."""
    caplog.set_level(logging.DEBUG, "replicator.transport")
    nobody, nobody_either = free_ports(2)
    one = await links.start(peers_of("n1", {"n2": 1}), RecordingSink())
    two = await links.start(peers_of("n2", {"n1": nobody}, listed=at(one.bound_port)), RecordingSink())
    await until(lambda: is_linked(two, "n1"))

    two.set_membership(a_membership({"n1": nobody_either, "n2": 1}, index=1))
    failing = f"cannot link peer=n1 address=127.0.0.1:{nobody_either}"
    await until(lambda: sum(r.message.startswith(failing) for r in caplog.records) >= 4)
    status = two.links()[N1]
    assert (status.connected, status.links, status.linked_at) == (True, 1, at(one.bound_port)[N1])


async def test_another_node_at_the_groups_address_is_refused_and_the_file_leads_to_the_peer(
    links: Links, caplog: pytest.LogCaptureFixture
) -> None:
    other = await links.start(peers_of("n3", {"n2": 1}), RecordingSink())
    one = await links.start(peers_of("n1", {"n2": 1}), RecordingSink())
    two = await links.start(peers_of("n2", {"n1": other.bound_port}, listed=at(one.bound_port)), RecordingSink())
    await until(lambda: is_linked(two, "n1"))

    assert two.linked_at() == at(one.bound_port)
    refused = warnings(caplog, f"refused by peer=n1 address=127.0.0.1:{other.bound_port}: WRONG_NODE")
    assert len(refused) == 1
    assert not is_linked(other, "n2")


async def test_a_file_that_is_outdated_does_no_harm(links: Links, caplog: pytest.LogCaptureFixture) -> None:
    """Its address leads to another node. What fails is said once an address, however often they take turns."""
    caplog.set_level(logging.DEBUG, "replicator.transport")
    other = await links.start(peers_of("n3", {"n2": 1}), RecordingSink())
    (later,) = free_ports(1)
    two = await links.start(peers_of("n2", {"n1": later}, listed=at(other.bound_port)), RecordingSink())
    failing = f"cannot link peer=n1 address=127.0.0.1:{later}"
    await until(lambda: sum(r.message.startswith("refused by peer=n1") for r in caplog.records) >= 3)
    await until(lambda: sum(r.message.startswith(failing) for r in caplog.records) >= 3)
    assert (len(warnings(caplog, failing)), len(warnings(caplog, "refused by peer=n1"))) == (1, 1)

    await links.start(peers_of("n1", {"n2": 1}, listen=f"127.0.0.1:{later}"), RecordingSink())
    await until(lambda: is_linked(two, "n1"))
    assert two.linked_at() == {}


async def test_a_snapshot_comes_from_the_address_of_the_file_too(links: Links, tmp_path: Path) -> None:
    data = some_bytes(1 << 20)
    one = await a_server(links, Shelf().put(tmp_path, data))
    other = await a_server(links, Shelf(), peers_of("n3", {"n2": 1}))
    for name, wrong in (("refuses", other.bound_port), ("is closed", free_ports(1)[0])):
        two = await links.start(peers_of("n2", {"n1": wrong}, listed=at(one.bound_port)), RecordingSink())
        await fetch(two, tmp_path / name, len(data))
        assert (tmp_path / name).read_bytes() == data
        await two.stop(0.2)

    elsewhere = await links.start(
        peers_of("n2", {"n1": other.bound_port}, listed=at(other.bound_port)), RecordingSink()
    )
    with pytest.raises(SnapshotUnavailable) as error:
        await elsewhere.fetch_snapshot(N1, ID, target=tmp_path / "none", size_bytes=len(data), timeout_s=60)
    assert error.value.reason is FetchFailure.REFUSED
