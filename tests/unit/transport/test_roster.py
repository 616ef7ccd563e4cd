"""Roster: one link a pair whichever side dials, unknown nodes within bounds, nobody who is no longer to be linked."""

import asyncio
import itertools
from dataclasses import replace

import pytest

from replicator.model.ids import LogIndex, NodeId, Region
from replicator.transport.handshake.known_peers import Introduction, KnownPeers
from replicator.transport.links.link import Link
from replicator.transport.links.roster import UNKNOWN_NODES_MAX, Objection, Roster
from tests.support.links import FOUNDER, QUICK, RecordingSink, a_membership, directory_of, peers_of, run_of, until

N1, N2 = NodeId("n1"), NodeId("n2")


class Quiet:
    """An open stream on which nothing is ever said."""

    def __init__(self, *, is_dialled: bool) -> None:
        self.is_dialled = is_dialled

    async def read(self) -> bytes | None:
        await asyncio.Event().wait()
        return None

    async def write(self, message: bytes) -> None:
        await asyncio.Event().wait()

    async def end(self) -> None:
        return


def said_by(node: str, index: int = 0, run: int = 1) -> Introduction:
    return Introduction(
        NodeId(node), directory_of(node), LogIndex(index), FOUNDER, run_of(node, run), is_proven=True,
        region=Region("eu"), codecs=frozenset(),
    )  # fmt: skip


def arrives(roster: Roster, peer: str, *, dialled: bool) -> Link | None:
    """A stream whose handshake is in order; the link over it, unless the roster objects."""
    said = said_by(peer)
    if roster.objection_to(said, dialled=dialled) is not None:
        return None
    return roster.install(said, Quiet(is_dialled=dialled))


ORDERS = tuple(itertools.permutations(("n1", "n2")))


@pytest.mark.parametrize("at_lesser", ORDERS)
@pytest.mark.parametrize("at_greater", ORDERS)
async def test_in_whatever_order_crossing_streams_arrive_both_ends_keep_that_of_the_greater_id(
    at_lesser: tuple[str, str], at_greater: tuple[str, str]
) -> None:
    """Each end sees a stream that n1 dialled and one that n2 dialled, and keeps the same one: nothing flaps."""
    for own, peer, order in (("n1", "n2", at_lesser), ("n2", "n1", at_greater)):
        sink = RecordingSink()
        roster = Roster(peers_of(own, {peer: 1}), sink)
        for dialler in order:
            arrives(roster, peer, dialled=dialler == own)
        kept = roster.current(NodeId(peer))
        assert kept is not None
        assert kept.is_dialled == (own == "n2")
        assert arrives(roster, peer, dialled=own == "n1") is None, "and goes on keeping it"


@pytest.mark.parametrize(("own", "peer"), [("n1", "n2"), ("n2", "n1")])
@pytest.mark.parametrize("dialled", [True, False])
async def test_of_two_streams_from_one_side_the_newer_stays(own: str, peer: str, dialled: bool) -> None:
    """It dials anew only if it has lost the older one."""
    sink = RecordingSink()
    roster = Roster(peers_of(own, {peer: 1}), sink)
    first, second = arrives(roster, peer, dialled=dialled), arrives(roster, peer, dialled=dialled)
    assert first is not None
    assert not first.live
    assert roster.current(NodeId(peer)) is second
    assert sink.calls == [("up", peer, 1), ("down", peer, 1), ("up", peer, 2)]


async def test_strangers_are_limited_in_number_and_members_are_not() -> None:
    roster = Roster(peers_of("n1", {"n2": 1}), RecordingSink())
    unknown_nodes = [f"s{number}" for number in range(UNKNOWN_NODES_MAX + 1)]
    for name in unknown_nodes[:-1]:
        roster.install(said_by(name, index=1), Quiet(is_dialled=False))
    late = said_by(unknown_nodes[-1], index=1)
    assert roster.objection_to(late, dialled=False) is Objection.FULL
    assert roster.objection_to(said_by(unknown_nodes[0], index=1), dialled=False) is None, (
        "its newer stream takes its place"
    )
    assert roster.objection_to(said_by("n2"), dialled=False) is None

    link = roster.current(NodeId(unknown_nodes[0]))
    assert link is not None
    roster.retire(link, "gone")
    assert unknown_nodes[0] not in roster.status(), "an unknown node that has left is forgotten"
    assert roster.objection_to(late, dialled=False) is None


async def test_a_new_membership_keeps_the_links_that_it_would_let_in_and_no_others() -> None:
    sink = RecordingSink()
    roster = Roster(peers_of("n1", {"n2": 1, "n3": 1}), sink)
    vacant: list[str] = []
    roster.on_vacant = vacant.append
    for said in (said_by("n2"), said_by("n3"), said_by("n4", index=7), said_by("n5", index=9)):
        roster.install(said, Quiet(is_dialled=False))

    wiped = {"n2": directory_of("n2"), "n3": b"0123456789abcdef"}
    roster.follow(
        KnownPeers(roster.known_peers.settings, a_membership({"n1": 1, "n2": 1, "n3": 1}, index=8, directories=wiped))
    )

    assert set(sink.up) == {"n2", "n5"}, "n3 has another directory, n4 knew nothing newer, n5 does"
    assert vacant == ["n3", "n4"]
    assert list(roster.status()) == ["n2", "n3", "n5"]


async def test_a_handshake_that_a_new_membership_has_overtaken_makes_no_link() -> None:
    roster = Roster(peers_of("n1", {"n2": 1}), RecordingSink())
    assert roster.objection_to(said_by("n2"), dialled=False) is None
    roster.follow(KnownPeers(roster.known_peers.settings, a_membership({"n1": 1}, index=3)))
    assert roster.objection_to(said_by("n2"), dialled=False) is Objection.LAPSED


async def test_a_sink_that_refuses_a_link_leaves_the_seat_vacant() -> None:
    class Refusing(RecordingSink):
        def link_up(self, peer: NodeId, epoch: int, directory_id: bytes) -> None:
            raise RuntimeError("a bug")

    roster = Roster(peers_of("n1", {"n2": 1}), Refusing())
    vacant: list[str] = []
    roster.on_vacant = vacant.append
    for name in ("n2", "s1"):
        with pytest.raises(RuntimeError, match="a bug"):
            roster.install(said_by(name, index=1), Quiet(is_dialled=False))
    assert vacant == ["n2", "s1"]
    assert list(roster.status()) == ["n2"]


async def test_the_sink_is_told_which_directory_the_peer_came_with() -> None:
    sink = RecordingSink()
    roster = Roster(peers_of("n1", {"n2": 1}), sink)
    roster.install(replace(said_by("n2"), directory_id=b"0123456789abcdef"), Quiet(is_dialled=False))
    assert sink.directories == {"n2": b"0123456789abcdef"}


async def test_a_later_run_waits_until_the_link_of_the_earlier_one_is_down() -> None:
    """Two runs of one directory never act in turn."""
    roster = Roster(peers_of("n1", {"n2": 1}), RecordingSink())
    first = roster.install(said_by("n2"), Quiet(is_dialled=False))
    for dialled in (False, True):
        assert roster.objection_to(said_by("n2", run=2), dialled=dialled) is Objection.FORMER
    assert roster.objection_to(said_by("n2"), dialled=False) is None, "the same run may come again"
    roster.retire(first, "its process has died")
    assert roster.objection_to(said_by("n2", run=2), dialled=False) is None


async def test_a_run_that_comes_beside_one_that_goes_on_answering_is_a_copy() -> None:
    """A dead process's link is down after the keepalive; one that is up for longer is that of a living one."""
    timers = replace(QUICK, keepalive_time_s=0.01, keepalive_timeout_s=0.01)
    roster = Roster(peers_of("n1", {"n2": 1}, timers=timers), RecordingSink())
    assert roster.run_beside(said_by("n2", run=2)) is None, "nothing is linked"
    roster.install(said_by("n2"), Quiet(is_dialled=False))
    assert roster.run_beside(said_by("n2")) is None, "it is the very run that is linked"
    assert roster.run_beside(said_by("n2", run=2)) is None, "the earlier one may just have died"
    await until(lambda: roster.run_beside(said_by("n2", run=2)) == run_of("n2"))
    assert roster.run_beside(said_by("n2", run=3)) is None, "each run has its own time"


async def test_time_in_which_this_node_stood_still_makes_no_copy_of_one_that_was_restarted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The link of its dead process is down a moment after this node goes on; till then it only waits."""
    roster = Roster(peers_of("n1", {"n2": 1}), RecordingSink())
    roster.install(said_by("n2"), Quiet(is_dialled=False))
    loop = asyncio.get_running_loop()
    now_s = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now_s)
    assert roster.run_beside(said_by("n2", run=2)) is None
    now_s += 3600.0
    assert roster.run_beside(said_by("n2", run=2)) is None, "it stood still for an hour"
    for _ in range(20):
        now_s += 1.0
        found = roster.run_beside(said_by("n2", run=2))
    assert found == run_of("n2")
    monkeypatch.undo()
