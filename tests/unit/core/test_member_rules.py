"""The membership that follows from a change request."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.member_rules import changed, pinned
from replicator.model.errors import InvalidArgument
from replicator.model.ids import NodeId
from replicator.model.members import MemberChange, MemberRole, Membership, RemoveMember, SetMember
from tests.support.members import a_member, a_membership, voters

NAMES = [f"n{number}" for number in range(1, 13)]


def roles(membership: Membership) -> dict[str, MemberRole]:
    return {member.node_id: member.role for member in membership.members}


def test_a_new_voter_joins_first() -> None:
    """It votes once it has caught up, which only the leader can tell."""
    after = changed(voters("n1", "n2", "n3"), SetMember(a_member("n4")))

    assert roles(after)["n4"] is MemberRole.JOINING
    assert after.voters == {"n1", "n2", "n3"}


def test_an_observer_that_is_to_vote_joins_first_too() -> None:
    before = a_membership([a_member("n1"), a_member("n2", MemberRole.OBSERVER)])

    assert roles(changed(before, SetMember(a_member("n2"))))["n2"] is MemberRole.JOINING


def test_a_request_that_is_granted_already_changes_nothing() -> None:
    before = voters("n1", "n2", "n3")

    assert changed(before, SetMember(a_member("n2"))) == before
    assert changed(before, RemoveMember(NodeId("n9"))) == before


def test_the_last_voter_stays() -> None:
    before = a_membership([a_member("n1"), a_member("n2", MemberRole.OBSERVER)])

    for request in (RemoveMember(NodeId("n1")), SetMember(a_member("n1", MemberRole.OBSERVER))):
        with pytest.raises(InvalidArgument, match="last voter"):
            changed(before, request)


def test_a_name_that_comes_back_with_another_directory_joins_anew() -> None:
    """Under its old membership it would vote again in a term in which it has voted."""
    before = a_membership([a_member("n1"), a_member("n2", directory_id=b"a" * 16)])

    after = changed(before, SetMember(a_member("n2", directory_id=b"b" * 16)))

    assert after.get("n2") == a_member("n2", MemberRole.JOINING, b"b" * 16)
    assert after.voters == {"n1"}


def test_a_request_that_names_no_directory_keeps_the_known_one() -> None:
    before = a_membership([a_member("n1"), a_member("n2", directory_id=b"a" * 16)])

    assert changed(before, SetMember(a_member("n2"))) == before


def test_a_voter_that_comes_with_a_directory_which_nobody_has_heard_of_catches_up_first() -> None:
    """Its disk may have been lost before the group had noted it."""
    before = a_membership([a_member("n1"), a_member("n2")])

    after = changed(before, SetMember(a_member("n2", directory_id=b"b" * 16)))

    assert after.get("n2") == a_member("n2", MemberRole.JOINING, b"b" * 16)


def test_voters_and_members_are_bounded() -> None:
    nine = voters(*NAMES[:9])

    with pytest.raises(InvalidArgument, match="at most 9 voters"):
        changed(nine, SetMember(a_member("n10")))
    assert len(changed(nine, SetMember(a_member("n10", MemberRole.OBSERVER))).members) == 10


def test_two_members_cannot_share_an_address() -> None:
    with pytest.raises(InvalidArgument, match="peer_address"):
        changed(voters("n1"), SetMember(replace(a_member("n1"), node_id=NodeId("n2"))))


def test_directories_are_noted_once() -> None:
    before = a_membership([a_member("n1", directory_id=b"a" * 16), a_member("n2"), a_member("n3")])

    after = pinned(before, {"n1": b"z" * 16, "n2": b"b" * 16, "n9": b"c" * 16})

    assert [member.directory_id for member in after.members] == [b"a" * 16, b"b" * 16, b""]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from([*MemberRole, None])), max_size=40))
def test_majorities_of_two_memberships_that_follow_each_other_meet(
    requests: list[tuple[str, MemberRole | None]],
) -> None:
    """Whatever is asked, in whatever order (Ongaro 2014, 4.1)."""
    membership = voters("n1", "n2", "n3")
    for name, role in requests:
        request: MemberChange = SetMember(a_member(name, role)) if role is not None else RemoveMember(NodeId(name))
        try:
            after = changed(membership, request)
        except InvalidArgument:
            continue
        assert len(after.voters ^ membership.voters) <= 1
        assert after.voters
        assert changed(after, request) == after, "a repeated request changes nothing"
        membership = after
