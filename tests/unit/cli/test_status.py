"""Who leads and who lags, from answers that may contradict each other."""

from dataclasses import replace

from replicator.cli.status import lag_of, leader_of, notes_of, role_of, timers_of
from replicator.model.values import MemberStatus, NodeStatus


def a_node(node_id: str, *, term: int = 1, leader_id: str = "", commit: int = 10, applied: int = 10) -> NodeStatus:
    return NodeStatus(
        cluster_id="c", node_id=node_id, region="eu", version="0", role="follower", term=term, leader_id=leader_id,
        commit_index=commit, applied_index=applied, last_index=commit, revision=0, live_keys=0, data_bytes=0,
        staleness_ms=None, rolling_hash="", state_hash="", state_hash_index=0, read_only_reason="", members=(),
        token="", uptime_s=0.0, membership_index=0, heartbeat_ms=50, election_timeout_min_ms=300,
        election_timeout_max_ms=600,
    )  # fmt: skip


def test_the_leader_of_the_newest_term_counts_when_an_old_one_has_not_heard_yet() -> None:
    nodes = [a_node("eu-1", term=3, leader_id="eu-1"), a_node("us-1", term=4, leader_id="us-1"), a_node("ap-1", term=9)]

    assert leader_of(nodes) == "us-1"
    assert leader_of([a_node("eu-1")]) == ""


def test_lag_is_counted_against_the_leaders_commit_and_unknown_without_it() -> None:
    leader = a_node("us-1", leader_id="us-1", commit=40)
    behind = a_node("eu-1", leader_id="us-1", commit=38, applied=35)

    assert lag_of(behind, [leader, behind]) == 5
    assert lag_of(behind, [behind]) is None
    assert lag_of(replace(behind, applied_index=50), [leader, behind]) == 0, "answers are of different moments"


def a_member(node_id: str, role: str) -> MemberStatus:
    return MemberStatus(node_id, "eu", "", "", True, leader=False, match_index=None, lag_entries=None, role=role)


def test_a_member_that_does_not_vote_is_shown_as_what_it_is() -> None:
    node = replace(a_node("eu-1"), members=(a_member("eu-1", "voter"), a_member("ap-1", "observer")))

    assert role_of(node) == "follower"
    assert role_of(replace(node, node_id="ap-1")) == "observer"
    assert role_of(replace(node, node_id="us-1")) == "follower", "no member, or one that has not heard of itself yet"


def test_a_node_that_was_removed_and_one_that_is_full_are_noted() -> None:
    members = (a_member("us-1", "voter"), a_member("ap-1", "voter"))
    removed = replace(a_node("eu-1"), members=members, membership_index=40)
    full = replace(a_node("us-1"), members=members, membership_index=40, read_only_reason="disk full")

    assert notes_of(removed, []) == "not a member (membership of index 40)"
    assert notes_of(full, []) == "read-only: disk full"
    assert notes_of(replace(removed, read_only_reason="disk full"), []) == (
        "not a member (membership of index 40); read-only: disk full"
    )
    assert notes_of(replace(full, read_only_reason=""), []) == ""
    assert notes_of(a_node("eu-1"), []) == "", "joins, and has not heard from its group"
    unaware = replace(removed, members=(*members, a_member("eu-1", "voter")), membership_index=30)
    assert notes_of(unaware, [unaware]) == ""
    assert notes_of(unaware, [unaware, full]) == "not a member (membership of index 40)", "the others know"


def test_a_link_on_another_address_than_the_groups_is_noted() -> None:
    elsewhere = replace(a_member("us-1", "voter"), peer_address="127.0.0.1:1", linked_at="127.0.0.1:2")
    node = replace(a_node("eu-1"), members=(a_member("eu-1", "voter"), elsewhere))

    assert notes_of(node, []) == "linked us-1 at 127.0.0.1:2 of its own file, the group knows 127.0.0.1:1"


def test_timers_are_one_line_unless_nodes_disagree() -> None:
    lan = a_node("eu-1")
    wan = replace(a_node("us-1"), heartbeat_ms=150, election_timeout_min_ms=1500, election_timeout_max_ms=3000)

    assert timers_of([lan, replace(lan, node_id="ap-1")]) == ["timers: heartbeat 50 ms, election 300 to 600 ms"]
    assert timers_of([lan, wan]) == [
        "timers: heartbeat 50 ms, election 300 to 600 ms (eu-1)",
        "timers: heartbeat 150 ms, election 1500 to 3000 ms (us-1)",
    ]
    assert timers_of([]) == []
