"""Who may be linked, as each end judges by its own membership."""

from functools import partial

import pytest

from replicator.core.admission import Admission, refusal_of
from replicator.model.ids import LogIndex, NodeId, Region
from replicator.model.members import Member, Membership

HERS, OTHER = b"0123456789abcdef", b"fedcba9876543210"
OURS_FOUNDER, OTHER_FOUNDER = b"we were founded.", b"so were they too"
OURS = LogIndex(17)


def a_member(node_id: str, directory_id: bytes = b"") -> Member:
    return Member(NodeId(node_id), Region("eu"), "127.0.0.1:1", "127.0.0.1:2", directory_id=directory_id)


MEMBERSHIP = Membership(OURS, (a_member("a", HERS), a_member("b")), OURS_FOUNDER)


def verdict(
    node_id: str, directory_id: bytes, index: int, founder: bytes = b"", *, is_proven: bool = True
) -> Admission | None:
    return refusal_of(MEMBERSHIP, NodeId(node_id), directory_id, LogIndex(index), founder, is_proven=is_proven)


@pytest.mark.parametrize("index", [0, 16, 17, 18])
def test_a_member_with_the_known_directory_is_linked_whatever_it_has_applied(index: int) -> None:
    assert verdict("a", HERS, index) is None


@pytest.mark.parametrize("directory_id", [HERS, OTHER])
def test_a_member_that_nobody_has_heard_from_may_come_with_any_directory(directory_id: bytes) -> None:
    assert verdict("b", directory_id, 0) is None


@pytest.mark.parametrize(("index", "expected"), [(0, "OTHER_DIRECTORY"), (17, "OTHER_DIRECTORY"), (18, None)])
def test_a_member_with_another_directory_needs_a_newer_membership_that_may_know_it(
    index: int, expected: str | None
) -> None:
    """Else it has lost its disk, and with it the votes that it gave."""
    assert verdict("a", OTHER, index) == expected


@pytest.mark.parametrize(("index", "expected"), [(0, "NOT_A_MEMBER"), (17, "NOT_A_MEMBER"), (18, None)])
def test_a_stranger_needs_a_newer_membership_since_we_may_be_the_one_that_lags(
    index: int, expected: str | None
) -> None:
    assert verdict("c", HERS, index) == expected


@pytest.mark.parametrize("index", [18, 1 << 55, (1 << 64) - 1])
def test_a_claim_to_know_a_newer_membership_counts_for_nothing_without_the_groups_proof(index: int) -> None:
    assert verdict("c", HERS, index, is_proven=False) is Admission.NOT_A_MEMBER
    assert verdict("a", OTHER, index, is_proven=False) is Admission.OTHER_DIRECTORY
    assert verdict("a", HERS, index, is_proven=False) is None, "a member under its own name claims nothing"


def test_a_node_that_knows_no_group_refuses_those_that_know_no_more() -> None:
    """It has no secret to compare with, so it takes the word of a node of its cluster."""
    nobody = Membership(LogIndex(0), ())
    for is_proven in (False, True):
        asked = partial(refusal_of, nobody, NodeId("a"), HERS, is_proven=is_proven)
        assert asked(LogIndex(0), b"") is Admission.NOT_A_MEMBER
        assert asked(LogIndex(1), OTHER_FOUNDER) is None


@pytest.mark.parametrize("index", [0, 17, 18, 1000])
@pytest.mark.parametrize(("node_id", "directory_id"), [("a", HERS), ("b", OTHER), ("c", OTHER)])
def test_nodes_of_groups_that_were_founded_apart_never_meet(node_id: str, directory_id: bytes, index: int) -> None:
    """However new the membership is that the other one knows, for any node: the logs have nothing in common."""
    assert verdict(node_id, directory_id, index, OTHER_FOUNDER) is Admission.OTHER_GROUP
    assert verdict(node_id, directory_id, index, OURS_FOUNDER) == verdict(node_id, directory_id, index)
