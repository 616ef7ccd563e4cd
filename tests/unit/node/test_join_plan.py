"""What a node that starts asks of its group: as little as possible, and never twice."""

from dataclasses import replace
from pathlib import Path

import pytest

from replicator.config.load import parse_config
from replicator.config.schema import NodeConfig
from replicator.model.errors import ConfigError
from replicator.model.ids import LogIndex, NodeId
from replicator.model.members import Member, MemberRole, Membership
from replicator.node.join_plan import (
    JoinOptions,
    check_join,
    contacts,
    difference,
    initial_membership,
    own_row,
    plan_join,
)
from tests.unit.config.test_load import with_change

DISK = b"d" * 16
NEVER_HEARD = Membership(LogIndex(0), ())
OLD = NodeId("us-1")


def a_config() -> NodeConfig:
    """Of eu-1; the others are us-1 and ap-1."""
    return parse_config(with_change("raft.profile", "lan"), Path("/base"))


ME = own_row(a_config(), DISK)


def known(mine: Member | None, index: int = 9) -> Membership:
    """The group as the store has it: us-1, ap-1, and perhaps this node."""
    others = initial_membership(a_config(), joining=False).without(ME.node_id)
    membership = others if mine is None else others.with_member(mine)
    return replace(membership, index=LogIndex(index))


def test_a_store_begins_with_the_files_members_or_with_none_if_it_joins() -> None:
    founded = initial_membership(a_config(), joining=False)

    assert founded.index == 0
    assert sorted(founded.voters) == ["ap-1", "eu-1", "us-1"]
    assert founded.get("us-1") == Member(NodeId("us-1"), founded.members[2].region, "127.0.0.1:7102", "127.0.0.1:7002")
    assert initial_membership(a_config(), joining=True) == NEVER_HEARD


@pytest.mark.parametrize(
    ("options", "role"),
    [
        (JoinOptions(), MemberRole.VOTER),
        (JoinOptions(observer=True), MemberRole.OBSERVER),
        (None, MemberRole.VOTER),  # started again without its flags, before the group took it in
    ],
)
def test_a_node_that_has_not_heard_from_its_group_asks_to_be_taken_in(
    options: JoinOptions | None, role: MemberRole
) -> None:
    plan = plan_join(ME, NEVER_HEARD, options)

    assert (plan.ask, plan.watch, plan.replace) == (replace(ME, role=role), True, None)
    assert plan.ask is not None
    assert plan.ask.directory_id == DISK


def test_the_replaced_one_is_removed_at_the_end_of_the_way() -> None:
    options = JoinOptions(replace=OLD)

    assert plan_join(ME, NEVER_HEARD, options).replace == OLD
    resumed = plan_join(ME, known(replace(ME, role=MemberRole.JOINING)), options)
    assert (resumed.ask, resumed.watch, resumed.replace) == (None, True, OLD)


@pytest.mark.parametrize("role", [MemberRole.VOTER, MemberRole.OBSERVER])
@pytest.mark.parametrize("options", [None, JoinOptions(), JoinOptions(observer=True)])
def test_a_full_member_asks_for_nothing_whatever_its_flags_say(role: MemberRole, options: JoinOptions | None) -> None:
    """Not even for its old role: an operator may have promoted or demoted it since."""
    plan = plan_join(ME, known(replace(ME, role=role)), options)

    assert (plan.is_empty, plan.notes) == (True, ())


def test_a_full_member_removes_nobody_and_says_so() -> None:
    """A node that came back under the old name would else be removed at every restart of this one."""
    plan = plan_join(ME, known(ME), JoinOptions(replace=OLD))

    assert plan.is_empty
    assert "`replicator member remove us-1`" in plan.notes[0]
    assert plan_join(ME, known(ME), JoinOptions(replace=NodeId("gone-1"))).notes == ()


def test_a_founder_that_is_told_to_join_says_why_it_does_not() -> None:
    founding = Membership(LogIndex(0), known(ME).members)
    plan = plan_join(ME, founding, JoinOptions())

    assert plan.is_empty
    assert "--join has no effect" in plan.notes[0]
    assert plan_join(ME, founding, None).notes == ()


@pytest.mark.parametrize("options", [None, JoinOptions()])
def test_a_node_that_was_removed_does_not_bring_itself_back(options: JoinOptions | None) -> None:
    plan = plan_join(ME, known(None), options)

    assert (plan.ask, plan.watch, plan.replace) == (None, options is not None, None)
    assert "does not name eu-1. Either the group has removed it" in plan.notes[0]


def test_a_node_that_moved_announces_its_new_row_and_keeps_its_role() -> None:
    for role, asked in (
        (MemberRole.VOTER, MemberRole.VOTER),
        (MemberRole.OBSERVER, MemberRole.OBSERVER),
        (MemberRole.JOINING, MemberRole.VOTER),
    ):
        plan = plan_join(ME, known(replace(ME, api_address="127.0.0.1:1", role=role)), None)
        assert plan.ask == replace(ME, role=asked)
        assert plan.watch == (role is MemberRole.JOINING)


def test_only_a_directory_that_the_group_knows_is_named_by_one_that_moved() -> None:
    plan = plan_join(ME, known(replace(ME, api_address="127.0.0.1:1", directory_id=b"")), None)
    assert plan.ask == replace(ME, directory_id=b"")


def test_a_directory_that_is_not_the_one_the_group_knows_asks_for_nothing() -> None:
    plan = plan_join(ME, known(replace(ME, api_address="127.0.0.1:1", directory_id=b"e" * 16)), JoinOptions())

    assert plan.is_empty
    assert "another data directory under the name eu-1" in plan.notes[0]


def test_as_long_as_the_files_are_the_membership_there_is_nothing_to_announce() -> None:
    assert plan_join(ME, known(replace(ME, api_address="127.0.0.1:1"), index=0), None).is_empty


def test_a_file_that_lists_other_members_than_the_group_has_is_told_of() -> None:
    config = a_config()

    assert difference(config, known(ME)) is None
    assert difference(config, known(replace(ME, api_address="127.0.0.1:1"))) is None, "the own row is announced"
    assert difference(config, known(ME, index=0)) is None, "it counts"
    told = difference(config, known(ME).without(OLD))
    assert told is not None
    assert told.startswith("cluster.members lists ap-1, us-1 beside this node, the group has ap-1 (")
    assert "only counts for a new cluster" in told
    one = next(member for member in known(ME).members if member.node_id == OLD)
    told = difference(config, known(ME).with_member(replace(one, peer_address="127.0.0.1:1")))
    assert told is not None
    assert f", {OLD} at 127.0.0.1:1, not at {one.peer_address} (membership of index" in told


def test_the_group_is_asked_at_its_members_first_and_then_at_those_of_the_file() -> None:
    moved = known(None).with_member(replace(known(None).members[0], api_address="127.0.0.1:1"))

    assert contacts(a_config(), moved) == ("127.0.0.1:1", "127.0.0.1:7002", "127.0.0.1:7003")
    assert contacts(a_config(), NEVER_HEARD) == ("127.0.0.1:7002", "127.0.0.1:7003")


def test_flags_that_cannot_mean_what_they_say_are_refused() -> None:
    check_join(a_config(), JoinOptions(replace=OLD))
    with pytest.raises(ConfigError, match=r"--replace: 'eu-1' is this node itself"):
        check_join(a_config(), JoinOptions(replace=NodeId("eu-1")))
    with pytest.raises(ConfigError, match=r"--replace: 'US' is not a node id"):
        check_join(a_config(), JoinOptions(replace=NodeId("US")))
    config = a_config()
    lone = config.model_copy(update={"cluster": config.cluster.model_copy(update={"members": (config.me,)})})
    with pytest.raises(ConfigError, match=r"cluster\.members: lists this node only"):
        check_join(lone, JoinOptions())
