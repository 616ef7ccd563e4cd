"""The leader finds out if a member has made another state of the same log, names it, and says so not too often."""

import logging

import pytest

from replicator.engine.raft.state_check import REPORT_EVERY_S, TELL_EVERY_S
from tests.support.replicas import NAMES, HandCluster, HandNode

A, B, C = NAMES[:3]


def a_cluster_in_which_b_differs() -> tuple[HandCluster, HandNode, int]:
    """From the newest entry on: its rolling hash there is another."""
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.wait(2 * REPORT_EVERY_S)
    assert leader.replica.status("").state_difference == ""
    cluster.write(b"k")
    store = cluster[B].disk.store
    store.digests[store.applied_index] = bytes(byte ^ 1 for byte in store.digests[store.applied_index])
    return cluster, leader, store.applied_index


def test_a_member_with_another_state_is_named_by_the_leader(caplog: pytest.LogCaptureFixture) -> None:
    cluster, leader, index = a_cluster_in_which_b_differs()
    with caplog.at_level(logging.ERROR):
        cluster.wait(2 * REPORT_EVERY_S)

    assert leader.replica.status("").state_difference == f"{B} at index {index}"
    assert cluster[C].replica.status("").state_difference == ""
    assert [f"peer={B} has made another state" in record.message for record in caplog.records] == [True]


def test_it_is_told_again_but_not_each_second(caplog: pytest.LogCaptureFixture) -> None:
    cluster, _leader, _index = a_cluster_in_which_b_differs()
    with caplog.at_level(logging.ERROR):
        cluster.wait(TELL_EVERY_S + 2 * REPORT_EVERY_S, step_s=0.1)

    assert len([record for record in caplog.records if "another state" in record.message]) == 2


def test_a_member_whose_state_is_right_again_is_no_longer_named() -> None:
    """It was replaced, or its store was by a snapshot."""
    cluster, leader, index = a_cluster_in_which_b_differs()
    cluster.wait(2 * REPORT_EVERY_S)
    cluster[B].disk.store.digests[index] = leader.disk.store.digests[index]
    cluster.wait(2 * REPORT_EVERY_S)

    assert leader.replica.status("").state_difference == ""


def test_what_the_leader_has_no_hash_of_is_not_compared() -> None:
    """Compacted, or not applied so far."""
    cluster, leader, index = a_cluster_in_which_b_differs()
    del leader.disk.store.digests[index]
    cluster.wait(2 * REPORT_EVERY_S)

    assert leader.replica.status("").state_difference == ""
