"""Verdicts on a Hello."""

from dataclasses import replace

import pytest

from replicator.model.ids import LogIndex, NodeId, Region
from replicator.model.members import Membership
from replicator.transport.handshake.known_peers import KnownPeers
from replicator.transport.handshake.verdicts import (
    MESSAGE_CHARS_MAX,
    Refused,
    hello_to,
    judge_acceptor,
    judge_caller,
    judge_claim,
    region_contradiction,
)
from replicator.transport.settings import PeerAddress
from replicator.v1 import peer_pb2
from tests.support.links import FOUNDER, a_hello, a_membership, directory_of, peers_of

NONCE = b"an honest nonce."


def judged(known_peers: KnownPeers, hello: peer_pb2.Hello) -> Refused | None:
    """What the accepting side makes of a Hello, its certificate aside."""
    return judge_caller(known_peers, hello) or judge_claim(known_peers, hello)


N1 = peers_of("n1", {"n2": 1, "n3": 1})
N2 = peers_of("n2", {"n1": 1, "n3": 1})


def test_two_nodes_of_one_cluster_accept_each_other() -> None:
    assert judged(N1, hello_to(N2, NodeId("n1"), NONCE)) is None
    assert judge_acceptor(N2, hello_to(N1, NodeId("n2"), NONCE), NodeId("n1")) is None


@pytest.mark.parametrize(
    ("changes", "reason", "named"),
    [
        ({"cluster_id": "warehouse"}, "CLUSTER_MISMATCH", ["'warehouse'", "'shop'", "cluster.id"]),
        ({"cluster_id": ""}, "CLUSTER_MISMATCH", ["''", "'shop'"]),
        ({"node_id": "n9"}, "NOT_A_MEMBER", ["'n9'", "'n1'", "'n2', 'n3'", "cluster.members"]),
        ({"peer_id": "n3"}, "WRONG_NODE", ["'n3'", "'n1'", "peer address"]),
        ({"node_id": "n1"}, "DUPLICATE", ["'n1'", "node.id"]),
        ({"protocol_version": 9, "protocol_version_min": 4}, "PROTOCOL_VERSION", ["4 to 9", "3 to 3", "upgrade"]),
        ({"protocol_version": 0, "protocol_version_min": 0}, "PROTOCOL_VERSION", ["0 to 0", "3 to 3", "upgrade"]),
    ],
)
def test_a_refusal_names_both_values_and_the_remedy(changes: dict[str, object], reason: str, named: list[str]) -> None:
    verdict = judged(N1, a_hello(**changes).hello)

    assert verdict is not None
    assert verdict.reason == reason
    assert [part for part in named if part not in verdict.message] == []


def test_a_newer_node_that_still_speaks_our_version_is_accepted() -> None:
    assert judged(N1, a_hello(protocol_version=7, protocol_version_min=3).hello) is None


def test_the_dialler_refuses_an_answer_from_another_node() -> None:
    answer = a_hello(node_id="n3", peer_id="n2").hello
    verdict = judge_acceptor(N2, answer, NodeId("n1"))
    assert verdict is not None
    assert verdict.reason == "WRONG_NODE"


def test_a_contradicting_region_is_told_but_not_refused() -> None:
    hello = a_hello(region="mars").hello
    assert judged(N1, hello) is None
    line = region_contradiction(N1, hello)
    assert line is not None
    assert "'mars'" in line
    assert "'us'" in line
    assert region_contradiction(N1, a_hello().hello) is None


def test_text_from_the_wire_can_neither_forge_nor_flood_log_lines() -> None:
    verdict = judged(N1, a_hello(cluster_id="x\nERROR forged " + "y" * 100_000).hello)
    assert verdict is not None
    assert "\n" not in verdict.message
    assert len(verdict.message) < 500

    long = peer_pb2.Refusal(reason="A\nB" * 1000, message="c\x1b[31m\n" * 1000)
    echoed = Refused.from_message(long, is_proven=True, is_by_group=True)
    assert "\n" not in echoed.reason + echoed.message
    assert "\x1b" not in echoed.message
    assert len(echoed.reason) < 100
    assert len(echoed.message) <= MESSAGE_CHARS_MAX


def test_either_id_of_a_pair_may_dial() -> None:
    """The roster decides which stream stays, see test_roster."""
    assert judged(N1, a_hello().hello) is None
    assert judged(N2, hello_to(N1, NodeId("n2"), NONCE)) is None


@pytest.mark.parametrize("directory_id", [b"", b"short", b"x" * 17])
def test_a_hello_says_which_data_directory_it_comes_from(directory_id: bytes) -> None:
    verdict = judged(N1, a_hello(directory_id=directory_id).hello)
    assert verdict is not None
    assert (verdict.reason, f"directory_id of {len(directory_id)} bytes, it must have 16" in verdict.message) == (
        "PROTOCOL_VERSION",
        True,
    )


def at_17(**directories: bytes) -> KnownPeers:
    """n1, whose group of n1 and n2 is as of entry 17."""
    return KnownPeers(N1.settings, a_membership({"n1": 1, "n2": 1}, index=17, directories=directories))


def test_a_node_that_is_no_member_is_told_to_join_or_to_stop() -> None:
    verdict = judged(at_17(), a_hello(node_id="n9", membership_index=17).hello)
    assert verdict == Refused(
        "NOT_A_MEMBER",
        "node 'n9' is not a member of cluster 'shop' as of membership 17: start it with an empty data directory and "
        "`replicator serve --join`, or, if it was removed, stop it",
        FOUNDER,
    )


def test_a_refusal_tells_that_there_is_a_group() -> None:
    """A node that belongs to none must not found another one then."""
    founder = directory_of("n1")
    ours = replace(a_membership({"n1": 1, "n2": 1}, index=17), founder=founder)
    verdict = judged(KnownPeers(N1.settings, ours), a_hello(node_id="n9").hello)
    assert verdict is not None
    assert Refused.from_message(verdict.to_message(), is_proven=True, is_by_group=True).founder == founder


def test_a_node_of_a_group_that_was_founded_apart_is_refused_whatever_it_knows() -> None:
    ours = replace(a_membership({"n1": 1, "n2": 1}, index=17), founder=directory_of("n1"))
    verdict = judged(KnownPeers(N1.settings, ours), a_hello(membership_index=99, founder=directory_of("n2")).hello)
    assert verdict is not None
    assert verdict.reason == "OTHER_GROUP"
    assert "two groups of one name" in verdict.message


def test_a_node_that_lost_its_disk_is_told_to_be_replaced() -> None:
    longest = "n" * 63
    ours = a_membership({"n1": 1, longest: 1}, index=17, directories={longest: directory_of("n2")})
    wiped = a_hello(node_id=longest, directory_id=b"0123456789abcdef", membership_index=17).hello
    verdict = judged(KnownPeers(N1.settings, ours), wiped)
    assert verdict is not None
    assert verdict.reason == "OTHER_DIRECTORY"
    for part in ("lost its disk", "the votes", "docs/operating.md", "`replicator serve --join`"):
        assert part in verdict.message
    assert Refused.from_message(verdict.to_message(), is_proven=True, is_by_group=True) == verdict, (
        "the other side can log all of it"
    )


def test_both_sides_refuse_a_directory_that_is_not_the_known_one() -> None:
    known_peers = at_17(n2=directory_of("n2"))
    other = a_hello(directory_id=b"0123456789abcdef").hello
    assert judged(known_peers, a_hello().hello) is None
    assert judge_acceptor(known_peers, a_hello().hello, NodeId("n2")) is None
    for verdict in (judged(known_peers, other), judge_acceptor(known_peers, other, NodeId("n2"))):
        assert verdict is not None
        assert verdict.reason == "OTHER_DIRECTORY"


def test_an_unknown_node_may_prove_that_it_knows_a_newer_membership_if_it_has_a_name() -> None:
    """This node may be the one that lags; but nothing that no membership could hold is remembered."""
    assert judged(at_17(), a_hello(node_id="n9", membership_index=18).hello) is None
    for name in ("", "N9", "n" * 64, "n9\n"):
        verdict = judged(at_17(), a_hello(node_id=name, membership_index=18).hello)
        assert verdict is not None
        assert verdict.reason == "NOT_A_MEMBER"


def test_a_node_without_a_membership_takes_its_contacts_at_their_word() -> None:
    contact = PeerAddress(NodeId("n2"), Region("us"), "127.0.0.1:1")
    joining = KnownPeers(replace(N1.settings, contacts=(contact,)), Membership(LogIndex(0), ()))
    assert judged(joining, a_hello().hello) is None
    assert judged(joining, a_hello(node_id="n3", membership_index=5).hello) is None
    assert judged(joining, a_hello(node_id="n3").hello) is not None

    joined = KnownPeers(joining.settings, a_membership({"n1": 1, "n3": 1}, index=5))
    verdict = judged(joined, a_hello(membership_index=5).hello)
    assert verdict is not None, "a contact that was removed since is none any more"
    assert verdict.reason == "NOT_A_MEMBER"
