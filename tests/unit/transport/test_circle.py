"""Whom a node knows: members by their newest address, contacts that no membership names, never itself."""

from dataclasses import replace

from replicator.model.ids import LogIndex, NodeId, Region
from replicator.model.members import Membership
from replicator.transport.handshake.known_peers import KnownPeers
from replicator.transport.settings import PeerAddress
from tests.support.links import a_membership, peers_of

CONTACTS = tuple(PeerAddress(NodeId(name), Region("eu"), "127.0.0.1:99") for name in ("n1", "n2", "n8"))


def addresses(known_peers: KnownPeers) -> dict[str, str]:
    return {peer.node_id: peer.address for peer in known_peers.others()}


def test_members_are_dialled_where_the_membership_says_and_contacts_where_they_say() -> None:
    known_peers = peers_of("n1", {"n2": 2, "n3": 3}, contacts=CONTACTS)
    assert addresses(known_peers) == {"n2": "127.0.0.1:2", "n3": "127.0.0.1:3", "n8": "127.0.0.1:99"}
    assert known_peers.address_of(NodeId("n1")) is None, "a node does not dial itself"
    assert known_peers.address_of(NodeId("n9")) is None


def test_a_node_that_joins_knows_its_contacts_only() -> None:
    known_peers = KnownPeers(peers_of("n1", {}, contacts=CONTACTS).settings, Membership(LogIndex(0), ()))
    assert addresses(known_peers) == {"n2": "127.0.0.1:99", "n8": "127.0.0.1:99"}
    assert not known_peers.is_member("n2")


def test_a_route_counts_more_than_what_the_membership_or_a_contact_says() -> None:
    known_peers = peers_of("n1", {"n2": 2, "n3": 3}, contacts=CONTACTS)
    routed = replace(known_peers.settings, routes={NodeId("n2"): "127.0.0.1:7", NodeId("n8"): "127.0.0.1:8"})
    assert addresses(KnownPeers(routed, known_peers.membership)) == {
        "n2": "127.0.0.1:7",
        "n3": "127.0.0.1:3",
        "n8": "127.0.0.1:8",
    }


def test_a_node_that_was_removed_still_knows_the_others() -> None:
    known_peers = KnownPeers(peers_of("n1", {}).settings, a_membership({"n2": 2}, index=9))
    assert addresses(known_peers) == {"n2": "127.0.0.1:2"}


def test_the_own_file_gives_a_known_peer_a_second_address_unless_there_is_a_route() -> None:
    """And it never names anybody to dial: who belongs to the group is the group's to say."""
    listed = {NodeId("n2"): "127.0.0.1:20", NodeId("n3"): "127.0.0.1:3", NodeId("n4"): "127.0.0.1:40"}
    known_peers = peers_of("n1", {"n2": 2, "n3": 3, "n5": 5}, listed=listed)
    assert {peer.node_id: peer.addresses for peer in known_peers.others()} == {
        "n2": ("127.0.0.1:2", "127.0.0.1:20"),
        "n3": ("127.0.0.1:3",),
        "n5": ("127.0.0.1:5",),
    }
    routed = replace(known_peers.settings, routes={NodeId("n2"): "127.0.0.1:7"})
    found = KnownPeers(routed, known_peers.membership).address_of(NodeId("n2"))
    assert found is not None
    assert found.addresses == ("127.0.0.1:7",)
