"""Leadership goes to the preferred region once that is safe, and is not pulled back and forth by one that flaps."""

import os
import random
from dataclasses import dataclass, field

import pytest

from replicator.core.leader_preference import DOUBLINGS_MAX, LAG_ENTRIES_MAX, LeaderPreference
from replicator.model.ids import EntryCount, NodeId

EU, US, AP = NodeId("eu"), NodeId("us"), NodeId("ap")
ORDER = {EU: 0, US: 1}
PATIENCE_S = 10.0
STEP_S = 0.5
LONGEST_S = PATIENCE_S * 2**DOUBLINGS_MAX


def preference_of(node: NodeId) -> LeaderPreference:
    return LeaderPreference(node, rank=lambda each: ORDER.get(each, 2))


def lags(**entries: int) -> dict[NodeId, EntryCount]:
    return {NodeId(name): EntryCount(lag) for name, lag in entries.items()}


def first_choice(
    decider: LeaderPreference, leader: NodeId, seen: dict[NodeId, EntryCount], since_s: float = 0.0
) -> tuple[NodeId, float] | None:
    """Whom it names and when, if things stay as they are."""
    now_s = since_s
    while now_s < since_s + 4 * LONGEST_S:
        chosen = decider.step(now_s, leader=leader, lags=seen, patience_s=PATIENCE_S)
        if chosen is not None:
            return chosen, now_s - since_s
        now_s += STEP_S
    return None


def test_a_voter_of_a_better_region_leads_once_it_has_kept_up_for_long_enough() -> None:
    assert first_choice(preference_of(AP), AP, lags(eu=0, us=0)) == (EU, PATIENCE_S)
    assert first_choice(preference_of(AP), AP, lags(us=LAG_ENTRIES_MAX)) == (US, PATIENCE_S)
    assert first_choice(preference_of(US), US, lags(eu=3, ap=0)) == (EU, PATIENCE_S)


@pytest.mark.parametrize(
    ("leader", "seen"),
    [(EU, lags(us=0, ap=0)), (US, lags(ap=0)), (US, lags(eu=LAG_ENTRIES_MAX + 1)), (US, {})],
    ids=["the best leads", "the other is worse", "it lags", "it is not reached"],
)
def test_a_leader_stays_when_nobody_better_is_fit(leader: NodeId, seen: dict[NodeId, EntryCount]) -> None:
    assert first_choice(preference_of(leader), leader, seen) is None


def test_regions_that_are_not_listed_are_all_alike() -> None:
    decider = LeaderPreference(AP, rank=lambda _each: 2)
    assert first_choice(decider, AP, lags(eu=0, us=0)) is None


def test_who_does_not_lead_decides_nothing() -> None:
    for leader in (US, None):
        decider = preference_of(AP)
        assert [
            decider.step(now_s, leader=leader, lags=lags(eu=0), patience_s=PATIENCE_S) for now_s in (0.0, 100.0)
        ] == [None, None]


def test_an_interruption_makes_the_time_begin_anew() -> None:
    """A link that fell, a lag that grew, or leadership that was lost for a moment."""
    for interruption in ({}, lags(eu=LAG_ENTRIES_MAX + 1)):
        decider = preference_of(US)
        decider.step(0.0, leader=US, lags=lags(eu=0), patience_s=PATIENCE_S)
        decider.step(9.0, leader=US, lags=interruption, patience_s=PATIENCE_S)
        assert first_choice(decider, US, lags(eu=0), since_s=9.5) == (EU, PATIENCE_S)
    decider = preference_of(US)
    decider.step(0.0, leader=US, lags=lags(eu=0), patience_s=PATIENCE_S)
    decider.step(9.0, leader=None, lags={}, patience_s=PATIENCE_S)
    assert first_choice(decider, US, lags(eu=0), since_s=9.5) == (EU, PATIENCE_S)


def test_each_failure_doubles_the_patience_up_to_a_bound_and_with_that_voter_only() -> None:
    decider, waited = preference_of(AP), list[float]()
    for _ in range(DOUBLINGS_MAX + 3):
        found = first_choice(decider, AP, lags(eu=0), since_s=(sum(waited) + len(waited)) * 2)
        assert found is not None
        waited.append(found[1])
        decider.failed(EU)

    assert waited == [PATIENCE_S * 2 ** min(number, DOUBLINGS_MAX) for number in range(DOUBLINGS_MAX + 3)]
    assert decider.patience_with(US) == 1


def test_a_handover_that_does_not_last_counts_as_a_failure() -> None:
    decider = preference_of(US)
    decider.handed_over(EU, 0.0)
    decider.step(1.0, leader=EU, lags={}, patience_s=PATIENCE_S)
    decider.step(2.0, leader=None, lags={}, patience_s=PATIENCE_S)  # an election: nobody knows yet
    assert decider.patience_with(EU) == 1
    decider.step(3.0, leader=AP, lags={}, patience_s=PATIENCE_S)

    assert decider.patience_with(EU) == 2


def test_who_has_led_for_long_is_trusted_again() -> None:
    decider = preference_of(US)
    decider.failed(EU)
    decider.handed_over(EU, 0.0)
    decider.step(LONGEST_S, leader=EU, lags={}, patience_s=PATIENCE_S)
    decider.step(LONGEST_S + 1.0, leader=US, lags={}, patience_s=PATIENCE_S)

    assert decider.patience_with(EU) == 1


# A world of three, in which the preferred node comes and goes -------------------------------------------------------


@dataclass
class World:
    """Who is up, who leads, and three deciders; a decider forgets all when its node dies."""

    dice: random.Random
    now_s: float = 0.0
    leader: NodeId | None = US
    up: set[NodeId] = field(default_factory=lambda: {EU, US, AP})
    transfers: int = 0
    deciders: dict[NodeId, LeaderPreference] = field(
        default_factory=lambda: {node: preference_of(node) for node in (EU, US, AP)}
    )

    def crash(self, node: NodeId) -> None:
        self.up.discard(node)
        self.deciders[node] = preference_of(node)
        if self.leader == node:
            self.leader = None

    def step(self) -> None:
        self.now_s += STEP_S
        if self.leader is None and self.dice.random() < 0.5:
            self.leader = self.dice.choice(sorted(self.up))
        for node in sorted(self.up):
            seen = {peer: EntryCount(0) for peer in self.up - {node}} if node == self.leader else {}
            chosen = self.deciders[node].step(self.now_s, leader=self.leader, lags=seen, patience_s=PATIENCE_S)
            if chosen is not None:
                self.transfers += 1
                self.leader = chosen
                self.deciders[node].handed_over(chosen, self.now_s)


def test_a_preferred_node_that_crashes_again_and_again_moves_leadership_a_bounded_number_of_times() -> None:
    """However often it comes and goes: each other node tries once for each doubling, then only at its longest patience.

    A transfer to the second region may follow each of them, when the third is elected after the crash.
    """
    seed = int(os.environ.get("PREFERENCE_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"PREFERENCE_SEED={seed}")  # noqa: T201  # a failing run must be replayable
    dice = random.Random(seed)
    for _ in range(12):
        world = World(dice)
        up_s, down_s = dice.choice((3.0, 15.0, 25.0, 70.0, 200.0)), dice.choice((1.0, 20.0))
        crashes, lasts_s = 0, 6 * LONGEST_S
        while world.now_s < lasts_s:
            period_s = world.now_s % (up_s + down_s)
            if period_s >= up_s and EU in world.up:
                world.crash(EU)
                crashes += 1
            elif period_s < up_s:
                world.up.add(EU)
            world.step()
        tries = 2 * (DOUBLINGS_MAX + 1 + lasts_s / LONGEST_S)
        assert crashes > lasts_s / 300
        assert world.transfers <= 2 * tries, f"{world.transfers} transfers; up {up_s} s, down {down_s} s"


def test_a_preferred_node_that_comes_back_to_stay_leads_again() -> None:
    """After however many crashes, within the longest patience."""
    world = World(random.Random(1))
    while world.now_s < 20 * LONGEST_S:
        if world.now_s < 10 * LONGEST_S and world.now_s % 50.0 == 0.0:
            world.crash(EU)
        elif world.now_s % 50.0 == 5.0:
            world.up.add(EU)
        world.step()

    assert world.leader == EU
