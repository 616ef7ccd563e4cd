"""Who serves a snapshot to whom: near, if anybody near can; and always somebody who can."""

import random
from dataclasses import dataclass, field, replace

import pytest

from replicator.engine.snapshots.sources import MAKING_S_MAX, PATIENCE_PERIODS, Situation, SnapshotSources
from replicator.model.ids import LogIndex, NodeId, Region
from replicator.model.members import Member, MemberRole
from tests.support.members import a_member, a_membership

PERIOD_S = 2.0
LEADER = NodeId("west-1")
RECEIVER = NodeId("east-9")
FIRST, LAST = LogIndex(100), LogIndex(200)


def of_region(name: str, role: MemberRole = MemberRole.VOTER) -> Member:
    return replace(a_member(name, role), region=Region(name.split("-", maxsplit=1)[0]))


def a_situation(*names: str, lacking: tuple[str, ...] = (RECEIVER,), observers: tuple[str, ...] = ()) -> Situation:
    """All linked, all who do not lack hold the whole log. A name begins with its region."""
    members = [of_region(name) for name in (LEADER, RECEIVER, *names)]
    members += [of_region(name, MemberRole.OBSERVER) for name in observers]
    others = frozenset(member.node_id for member in members) - {LEADER}
    return Situation(
        membership=a_membership(members),
        lacking=frozenset(NodeId(name) for name in lacking),
        linked=others,
        match=dict.fromkeys(others - set(lacking), LAST),
        first_index=FIRST,
        last_index=LAST,
    )


@dataclass
class Leader:
    """Asks once a period; `now_s` moves by one period each time."""

    sources: SnapshotSources = field(default_factory=lambda: SnapshotSources(LEADER, PERIOD_S))
    now_s: float = 1000.0

    def source(self, seen: Situation) -> str | None:
        chosen = self.sources.choose(seen, self.now_s).get(RECEIVER)
        self.now_s += PERIOD_S
        return chosen

    def after_patience(self, seen: Situation) -> str | None:
        """Whom it has chosen once that much time has passed in which nobody said anything."""
        for _ in range(PATIENCE_PERIODS + 1):
            chosen = self.source(seen)
        return chosen


def test_a_neighbour_serves_so_that_the_bytes_do_not_cross_regions() -> None:
    assert Leader().source(a_situation("west-2", "east-1", "south-1")) == "east-1"


@pytest.mark.parametrize("names", [(), ("west-2", "south-1")])
def test_the_leader_serves_whom_no_neighbour_can(names: tuple[str, ...]) -> None:
    assert Leader().source(a_situation(*names)) == LEADER


def test_a_leader_serves_its_own_region_itself() -> None:
    leader, seen = Leader(), a_situation("west-2", "west-3", lacking=("west-3",))

    assert leader.sources.choose(seen, leader.now_s) == {"west-3": LEADER}


def test_nobody_serves_who_lacks_itself_or_cannot_be_reached() -> None:
    seen = a_situation("east-1", "east-2", lacking=(RECEIVER, "east-1"))

    assert Leader().source(replace(seen, linked=seen.linked - {"east-2"})) == LEADER


def test_a_neighbour_at_the_end_of_the_log_is_given_a_moment_to_catch_up() -> None:
    """What it made now would soon be behind the log. A leader that has just been elected knows nobody's position."""
    leader, seen = Leader(), a_situation("east-1")
    behind = replace(seen, match={NodeId("east-1"): LogIndex(149)})

    assert leader.source(behind) is None
    assert leader.source(seen) == "east-1"
    assert Leader().after_patience(behind) is None
    assert Leader(leader.sources, leader.now_s).source(seen) == "east-1"


def test_that_moment_ends() -> None:
    leader, seen = Leader(), a_situation("east-1")
    behind = replace(seen, match={})
    leader.after_patience(behind)

    assert leader.source(behind) == LEADER


def test_one_neighbour_serves_two_then_another_one_begins() -> None:
    """One file serves all its receivers, over as many streams as it sends at a time."""
    lacking = ("east-6", "east-7", "east-8")
    leader, seen = Leader(), a_situation("east-1", "east-2", *lacking, lacking=lacking)
    sources = leader.sources.choose(seen, leader.now_s)

    assert sources == {"east-6": "east-1", "east-7": "east-1", "east-8": "east-2"}


def test_an_observer_serves_rather_than_a_voter() -> None:
    assert Leader().source(a_situation("east-1", observers=("east-5",))) == "east-5"


def test_a_source_that_keeps_its_word_stays() -> None:
    """Although a neighbour with less to do appears meanwhile."""
    leader, seen = Leader(), a_situation("east-2")
    for number in range(100):
        assert leader.source(seen) == "east-2"
        tell = leader.sources.making if number < 3 else leader.sources.offering
        tell(NodeId("east-2"), RECEIVER, leader.now_s)
        seen = a_situation("east-1", "east-2")


def test_a_silent_source_is_replaced() -> None:
    leader, seen = Leader(), a_situation("east-1", "east-2")
    assert leader.source(seen) == "east-1"
    assert leader.after_patience(seen) == "east-2"
    assert leader.after_patience(seen) == LEADER
    assert leader.after_patience(seen) == LEADER, "it does not wait for itself"


@pytest.mark.parametrize("lost", ["link", "membership", "data"])
def test_a_source_that_is_lost_is_replaced_at_once(lost: str) -> None:
    leader, seen = Leader(), a_situation("east-1")
    assert leader.source(seen) == "east-1"
    without = a_situation()
    broken = {
        "link": replace(seen, linked=seen.linked - {"east-1"}),
        "membership": replace(seen, membership=without.membership),
        "data": a_situation("east-1", lacking=(RECEIVER, "east-1")),
    }[lost]

    assert leader.source(broken) == LEADER
    assert leader.source(seen) == LEADER, "who has begun goes on"


def test_a_source_that_refuses_is_replaced_and_not_asked_again() -> None:
    leader, seen = Leader(), a_situation("east-1")
    leader.source(seen)
    leader.sources.failed(NodeId("east-1"), RECEIVER, "its disk is full", leader.now_s)

    assert leader.source(seen) == LEADER


def test_a_source_that_makes_and_makes_is_replaced() -> None:
    leader, seen = Leader(), a_situation("east-1")
    begun_s = leader.now_s
    while leader.source(seen) == "east-1":
        leader.sources.making(NodeId("east-1"), RECEIVER, leader.now_s)

    assert MAKING_S_MAX < leader.now_s - begun_s < MAKING_S_MAX + 3 * PERIOD_S


def test_whom_the_leader_cannot_serve_anybody_may() -> None:
    """It dials the leader in vain, say."""
    leader, seen = Leader(), a_situation("south-1")
    assert leader.source(seen) == LEADER
    leader.sources.failed(LEADER, RECEIVER, "could not be taken", leader.now_s)

    assert leader.source(seen) == "south-1"


def test_what_others_than_the_source_say_counts_for_nothing() -> None:
    leader, seen = Leader(), a_situation("east-1", "east-2")
    leader.source(seen)
    leader.sources.failed(NodeId("east-2"), RECEIVER, "no", leader.now_s)
    leader.sources.failed(NodeId("east-1"), NodeId("east-7"), "no", leader.now_s)
    for _ in range(PATIENCE_PERIODS):
        leader.sources.offering(NodeId("east-2"), RECEIVER, leader.now_s)
        leader.source(seen)

    assert leader.source(seen) == "east-2", "east-1 said nothing"


def test_a_receiver_whose_link_comes_and_goes_does_not_get_the_silent_one_again_and_again() -> None:
    leader, seen = Leader(), a_situation("east-1")
    away = replace(seen, lacking=frozenset())
    chosen = []
    for _ in range(4):
        chosen += [leader.source(seen), leader.source(seen)]
        leader.source(away)

    assert chosen[0] == "east-1"
    assert chosen[-1] == LEADER


def test_nothing_is_remembered_of_who_lacks_nothing() -> None:
    leader, seen = Leader(), a_situation("east-1", "east-2")
    leader.after_patience(seen)
    for _ in range(40):
        leader.source(replace(seen, lacking=frozenset()))

    assert (leader.sources._tasks, leader.sources._failed_s, leader.sources._lacking_since_s) == ({}, {}, {})
    assert leader.source(seen) == "east-1"


@pytest.mark.parametrize("seed", range(30))
def test_whoever_can_serve_is_reached(seed: int) -> None:
    """No receiver starves: members are silent, or are said to be of no use; one works, wherever it is."""
    dice = random.Random(seed)
    names = [f"{dice.choice(('east', 'west', 'south'))}-{10 + number}" for number in range(dice.randint(0, 20))]
    leader, seen = Leader(), a_situation(*names)
    works = dice.choice([LEADER, *names])
    broken = {name: dice.choice(("silent", "refuses")) for name in (LEADER, *names) if name != works}
    periods = 0
    while (source := leader.source(seen)) != works:
        periods += 1
        assert periods <= (PATIENCE_PERIODS + 2) * (len(names) + 1), f"seed {seed}"
        if source is not None and (broken[source] != "silent" or source == LEADER):  # which hears of its own trouble
            leader.sources.failed(NodeId(source), RECEIVER, "no", leader.now_s)
