"""A majority that is away: who is missing, since when, and when that is worth a line."""

import logging

import pytest

from replicator.engine.events import LinkDown, RefusedBy
from tests.support.members import voters
from tests.support.replicas import LAN, NAMES, HandCluster, HandNode, hand_settings

A, B, C, D, E = NAMES[:5]
PATIENCE_S = 10 * LAN.election_timeout_max_s


def cut_off(node: HandNode) -> None:
    node.turn(*(LinkDown(peer, epoch) for peer in (B, C) if (epoch := node.replica.link_epoch(peer)) is not None))


def test_while_a_majority_is_connected_nothing_is_missing() -> None:
    node = HandNode(A, [B, C])
    node.link(B)

    assert node.replica.majority.problem() == ""


def test_it_is_said_who_is_missing_since_when_and_how_many_are_needed() -> None:
    node = HandNode(A, [B, C])
    node.link(B)
    node.wait(20)
    node.turn(LinkDown(B, 1))
    node.wait(12)

    assert node.replica.majority.problem() == (
        "2 of 3 voters are not connected (n2 for 12 s, n3 since this node started, 32 s ago); a majority needs 2; if "
        "they are lost for good see docs/operating.md, a majority is lost for good"
    )
    node.link(C)
    assert node.replica.majority.problem() == ""


def test_of_five_voters_three_are_needed() -> None:
    node = HandNode(A, [B, C, D, E])
    node.link(B)
    node.wait(1)

    assert node.replica.majority.problem().startswith("3 of 5 voters are not connected (n3 since")
    assert "a majority needs 3" in node.replica.majority.problem()


def test_a_leader_that_loses_its_majority_says_so_and_one_that_keeps_it_does_not() -> None:
    leader = HandCluster(3).elect(A)
    leader.turn(LinkDown(B, leader.replica.link_epoch(B) or 0))
    assert leader.replica.majority.problem() == ""
    cut_off(leader)

    assert "n2 for 0 s, n3 for 0 s" in leader.replica.majority.problem()


def test_a_node_that_hears_a_leader_misses_nobody_whatever_its_own_links() -> None:
    """One observer of a far region need not be linked to all."""
    cluster = HandCluster(5)
    cluster.elect(A)
    for peer in (C, D, E):
        cluster.disconnect(B, peer)
    assert cluster[B].replica.majority.problem() == ""
    cluster.disconnect(A, B)
    cluster[B].wait(1)

    assert "4 of 5 voters are not connected" in cluster[B].replica.majority.problem()


def test_a_node_that_joins_or_is_refused_by_its_group_is_told_something_else() -> None:
    joins = hand_settings(A, voters(), joining=True)
    assert HandNode(A, [], settings=joins).replica.majority.problem() == ""
    node = HandNode(A, [B, C])
    node.turn(RefusedBy(B, node.replica.group.membership.founder))
    assert node.replica.majority.problem() == ""


def test_one_line_says_that_it_stays_away_and_one_that_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "replicator.engine.raft.majority")
    node = HandNode(A, [B, C])
    node.turn()
    node.wait(PATIENCE_S)
    assert caplog.messages == []
    for _ in range(3):
        node.wait(1)
    assert [line.split(" (")[0] for line in caplog.messages] == ["no majority: 2 of 3 voters are not connected"]
    node.link(B)
    node.wait(0.1)

    assert caplog.messages[1:] == [f"a majority is connected again after {PATIENCE_S + 3:.0f} s"]
    cut_off(node)
    node.link(B, epoch=2)
    assert len(caplog.messages) == 2, "a moment is no line"
