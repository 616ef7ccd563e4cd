"""Verdicts on a Hello."""

import pytest

from replicator.model.ids import NodeId
from replicator.transport.handshake import (
    Refused,
    hello_to,
    judge_acceptor,
    judge_dialler,
    judge_fetcher,
    judge_identity,
    region_contradiction,
)
from replicator.v1 import peer_pb2
from tests.support.links import a_hello, a_setting

N1 = a_setting("n1", {"n2": 1, "n3": 1})
N2 = a_setting("n2", {"n1": 1, "n3": 1})


def test_two_nodes_of_one_cluster_accept_each_other() -> None:
    assert judge_dialler(N1, hello_to(N2, NodeId("n1")).hello) is None
    assert judge_acceptor(N2, hello_to(N1, NodeId("n2")).hello, NodeId("n1")) is None


@pytest.mark.parametrize(
    ("changes", "reason", "named"),
    [
        ({"cluster_id": "warehouse"}, "CLUSTER_MISMATCH", ["'warehouse'", "'shop'", "cluster.id"]),
        ({"cluster_id": ""}, "CLUSTER_MISMATCH", ["''", "'shop'"]),
        ({"node_id": "n9"}, "UNKNOWN_NODE", ["'n9'", "'n1'", "'n2', 'n3'", "cluster.members"]),
        ({"peer_id": "n3"}, "WRONG_NODE", ["'n3'", "'n1'", "cluster.members"]),
        ({"node_id": "n1"}, "DUPLICATE", ["'n1'", "node.id"]),
        ({"protocol_version": 9, "protocol_version_min": 2}, "PROTOCOL_VERSION", ["2 to 9", "1 to 1", "upgrade"]),
        ({"protocol_version": 0, "protocol_version_min": 0}, "PROTOCOL_VERSION", ["0 to 0", "1 to 1", "upgrade"]),
    ],
)
def test_a_refusal_names_both_values_and_the_remedy(changes: dict[str, object], reason: str, named: list[str]) -> None:
    verdict = judge_dialler(N1, a_hello(**changes).hello)

    assert verdict is not None
    assert verdict.reason == reason
    assert [part for part in named if part not in verdict.message] == []


def test_a_newer_node_that_still_speaks_our_version_is_accepted() -> None:
    assert judge_dialler(N1, a_hello(protocol_version=7, protocol_version_min=1).hello) is None


def test_the_dialler_refuses_an_answer_from_another_node() -> None:
    answer = a_hello(node_id="n3", peer_id="n2").hello
    verdict = judge_acceptor(N2, answer, NodeId("n1"))
    assert verdict is not None
    assert verdict.reason == "WRONG_NODE"


def test_a_lesser_id_that_dials_is_refused() -> None:
    """The greater id dials; otherwise a pair could hold two streams."""
    verdict = judge_dialler(N2, a_hello(node_id="n1", peer_id="n2").hello)
    assert verdict is not None
    assert verdict.reason == "WRONG_NODE"


def test_a_certificate_must_name_the_node_exactly() -> None:
    hello = a_hello().hello
    assert judge_identity(hello, {"n2", "other"}) is None
    for names in ({"n3"}, {"*"}, {"n2.example"}, set[str]()):
        verdict = judge_identity(hello, names)
        assert verdict is not None
        assert verdict.reason == "IDENTITY"
        assert "'n2'" in verdict.message


def test_a_contradicting_region_is_told_but_not_refused() -> None:
    hello = a_hello(region="mars").hello
    assert judge_dialler(N1, hello) is None
    line = region_contradiction(N1, hello)
    assert line is not None
    assert "'mars'" in line
    assert "'us'" in line
    assert region_contradiction(N1, a_hello().hello) is None


def test_text_from_the_wire_can_neither_forge_nor_flood_log_lines() -> None:
    verdict = judge_dialler(N1, a_hello(cluster_id="x\nERROR forged " + "y" * 100_000).hello)
    assert verdict is not None
    assert "\n" not in verdict.message
    assert len(verdict.message) < 500

    echoed = Refused.from_message(peer_pb2.Refusal(reason="A\nB" * 1000, message="c\x1b[31m\n" * 1000))
    assert "\n" not in echoed.reason + echoed.message
    assert "\x1b" not in echoed.message
    assert len(echoed.reason) < 100
    assert len(echoed.message) <= 400


def test_any_peer_may_fetch_whichever_of_the_two_dials() -> None:
    assert judge_fetcher(N1, a_hello().hello) is None
    assert judge_fetcher(N2, a_hello(node_id="n1", peer_id="n2", region="eu").hello) is None
    assert judge_dialler(N2, a_hello(node_id="n1", peer_id="n2", region="eu").hello) is not None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cluster_id": "warehouse"}, "CLUSTER_MISMATCH"),
        ({"node_id": "n7"}, "UNKNOWN_NODE"),
        ({"node_id": "n1"}, "DUPLICATE"),
        ({"peer_id": "n3"}, "WRONG_NODE"),
        ({"protocol_version": 0, "protocol_version_min": 0}, "PROTOCOL_VERSION"),
    ],
)
def test_a_stranger_may_not_fetch(changes: dict[str, object], reason: str) -> None:
    verdict = judge_fetcher(N1, a_hello(**changes).hello)
    assert verdict is not None
    assert verdict.reason == reason
