"""Seeds that failed once, by what was wrong. A failing seed of a campaign gets a line here.

What a seed draws changes whenever a draw is added, so a line keeps a cluster of that kind under test, not that very
life; what it showed is also kept by a planted bug or a test of its own, where the code was at fault and not the world.
"""

from typing import NamedTuple

import pytest

from chaos.simulation.world import Scenario, simulate


class Once(NamedTuple):
    """seeds: those that failed together."""

    name: str
    seeds: tuple[int, ...]
    scenario: Scenario


ONCE = [
    Once("world: a process asleep for 30 s was not woken by the heal", (27, 34), Scenario(nodes=5, profile="lan")),
    Once("world: a node that had not caught up was called a lost write", (17, 48), Scenario(nodes=5, profile="lan")),
    Once("world: retransmissions of seconds went on after the heal", (12,), Scenario(nodes=3, profile="wan")),
    Once("world: and so in partitions", (10, 12), Scenario(nodes=5, profile="wan", mix="partitions")),
    Once("world: a successor was removed before it handed back", (400294, 401970), Scenario(nodes=5, profile="lan")),
    Once("world: nodes were called alike while an entry was under way", (807075,), Scenario(nodes=5, profile="wan")),
    Once("engine: log time was continued from an entry that was gone", (1,), Scenario(nodes=5, profile="lan")),
    Once("engine: leadership went to a member that was removed meanwhile", (1047,), Scenario(mix="members")),
]


@pytest.mark.parametrize("once", ONCE, ids=lambda once: once.name.replace(" ", "-"))
def test_what_failed_once_holds(once: Once) -> None:
    for seed in once.seeds:
        assert simulate(seed, once.scenario).violation == "", f"seed {seed} of {once.scenario}"
