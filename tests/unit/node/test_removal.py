"""What the answers of other members say of this node's own place."""

from dataclasses import replace

from replicator.model.ids import LogIndex
from replicator.model.values import MemberStatus, NodeStatus
from replicator.node.removal import removal_in
from tests.support.members import voters

KNOWN = voters("ap-1", "eu-1", "us-1", index=30)


def told(index: int, *names: str) -> NodeStatus:
    members = tuple(
        MemberStatus(name, "r", "", "", True, leader=False, match_index=None, lag_entries=None, role="voter")
        for name in names
    )
    return NodeStatus(
        cluster_id="shop", node_id="us-1", region="r", version="0", role="follower", term=1, leader_id="",
        commit_index=index, applied_index=index, last_index=index, revision=0, live_keys=0, data_bytes=0,
        staleness_ms=None, rolling_hash="", state_hash="", state_hash_index=0, read_only_reason="", members=members,
        token="", uptime_s=0.0, membership_index=index, heartbeat_ms=50, election_timeout_min_ms=300,
        election_timeout_max_ms=600,
    )  # fmt: skip


def found(*answers: NodeStatus) -> LogIndex | None:
    return removal_in(answers, "shop", "eu-1", KNOWN)


def test_a_newer_membership_without_this_node_is_its_removal() -> None:
    assert found(told(40, "ap-1", "us-1")) == 40
    assert found(told(30, "ap-1", "eu-1", "us-1"), told(40, "ap-1", "us-1")) == 40, "not all have applied it"


def test_the_newest_word_counts() -> None:
    assert found(told(40, "ap-1", "us-1"), told(50, "ap-1", "eu-1", "us-1")) is None, "taken back"


def test_what_is_no_news_or_of_another_cluster_says_nothing() -> None:
    assert found() is None
    assert found(told(30, "ap-1", "us-1")) is None
    assert found(told(20, "ap-1", "us-1")) is None
    assert found(replace(told(40, "ap-1", "us-1"), cluster_id="bank")) is None
