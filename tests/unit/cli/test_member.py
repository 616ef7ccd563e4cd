"""When a removal would leave a group that can decide nothing."""

from replicator.cli.member import shortage
from replicator.model.values import MemberStatus


def members(**roles: str) -> list[MemberStatus]:
    """Name and role; a name in capitals is not connected."""
    return [
        MemberStatus(name.lower(), "eu", "", "", name.islower(), False, match_index=None, lag_entries=None, role=role)
        for name, role in roles.items()
    ]


def test_a_member_may_go_while_those_that_stay_have_a_connected_majority() -> None:
    assert shortage(members(a="voter", b="voter", c="voter"), "c") is None
    assert shortage(members(a="voter", b="voter", C="voter"), "c") is None, "the dead one goes"
    assert shortage(members(a="voter", b="voter", c="voter", D="voter"), "c") is None


def test_a_living_voter_does_not_go_before_the_dead_ones() -> None:
    assert shortage(members(a="voter", b="voter", C="voter"), "b") == (
        "of the 2 voters that stay, 1 are connected (a), and a majority is 2"
    )
    assert shortage(members(a="voter", B="voter", C="voter"), "a") is not None


def test_the_last_voter_does_not_go() -> None:
    assert shortage(members(a="voter", b="observer"), "a") == "it is the last voter"


def test_who_does_not_vote_may_always_go_and_does_not_count() -> None:
    lame = members(a="voter", B="voter", C="voter", d="observer", e="joining")

    assert shortage(lame, "d") is None
    assert shortage(lame, "e") is None
    assert shortage(lame, "b") is not None, "d and e are no voters"
