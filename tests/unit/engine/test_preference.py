"""Replicas bring leadership to the preferred region by themselves, and leave it alone where that would only disturb."""

from itertools import pairwise

from replicator.config.timing import RaftTiming
from replicator.engine.leading.preference import PATIENCE_TIMEOUTS
from replicator.model.ids import NodeId, Region
from tests.support.replicas import LAN, NAMES, HandCluster, bodies

A, B, C = NAMES[:3]
PATIENCE_S = PATIENCE_TIMEOUTS * LAN.election_timeout_max_s


def a_cluster(*preference: str) -> HandCluster:
    """n1 in r1 and so on."""
    return HandCluster(
        3,
        regions={name: Region(f"r{name[1:]}") for name in NAMES[:3]},
        leader_preference=tuple(Region(region) for region in preference),
    )


def leads(cluster: HandCluster) -> list[NodeId]:
    return [name for name, node in cluster.nodes.items() if node.replica.graft.is_leader]


def test_leadership_goes_to_the_preferred_region_once_its_voter_has_kept_up() -> None:
    cluster = a_cluster("r3", "r2")
    cluster.elect(A)
    cluster.wait(0.9 * PATIENCE_S)
    assert leads(cluster) == [A]
    cluster.wait(0.2 * PATIENCE_S)

    assert leads(cluster) == [C]


def test_patience_follows_the_timers_that_the_group_has_agreed_on() -> None:
    cluster = a_cluster("r3")
    cluster.elect(A)
    for node in cluster.nodes.values():
        node.replica.timers.set(RaftTiming(LAN.heartbeat_s, LAN.election_timeout_min_s, 4 * LAN.election_timeout_max_s))
    cluster.wait(3.9 * PATIENCE_S)
    assert leads(cluster) == [A]
    cluster.wait(0.2 * PATIENCE_S)

    assert leads(cluster) == [C]


def test_leadership_stays_where_nothing_better_is_there() -> None:
    for preference in ((), ("r1", "r2"), ("mars",)):
        cluster = a_cluster(*preference)
        cluster.elect(A)
        cluster.wait(3 * PATIENCE_S)
        assert leads(cluster) == [A]


def test_the_second_best_leads_while_the_best_is_away() -> None:
    cluster = a_cluster("r3", "r2")
    cluster.elect(A)
    cluster.disconnect(A, C)
    cluster.disconnect(B, C)
    cluster.wait(1.2 * PATIENCE_S)

    assert leads(cluster) == [B]


def test_a_voter_whose_link_falls_again_and_again_is_never_tried() -> None:
    cluster = a_cluster("r3")
    leader = cluster.elect(A)
    term = leader.replica.graft.term
    for _ in range(5):
        cluster.wait(0.7 * PATIENCE_S)
        cluster.disconnect(A, C)
        cluster.wait(0.1)
        cluster.connect(A, C)

    assert leads(cluster) == [A]
    assert leader.replica.graft.term == term


def test_a_voter_that_does_not_take_over_is_tried_less_and_less_often() -> None:
    """It hears the leader and answers, but cannot win: nobody hears it campaign."""
    cluster = a_cluster("r3")
    leader = cluster.elect(A)
    term = leader.replica.graft.term
    tries = []
    for _ in range(round(12 * PATIENCE_S / LAN.election_timeout_max_s)):
        paused = False
        for _ in range(30):
            cluster.clock.forward(0.02)
            for name in cluster.nodes:
                cluster.take(name)
            paused = paused or leader.replica.proposals.paused
            drop_requests_to_campaign(cluster)
            cluster.deliver()
        tries.append(paused)
    begun = [at for at, (before, now) in enumerate(zip([False, *tries], tries, strict=False)) if now and not before]

    assert leads(cluster) == [A]
    assert leader.replica.graft.term == term
    assert 2 <= len(begun) <= 3  # after one patience, two more, four more; the next would be eight after that
    waits = [later - earlier for earlier, later in pairwise(begun)]
    assert waits == sorted(waits)


def drop_requests_to_campaign(cluster: HandCluster) -> None:
    """Loses every TimeoutNow that is on the wire."""
    kept = [(sender, out) for sender, out in cluster.wire if not bodies([out], "timeout_now")]
    cluster.wire.clear()
    cluster.wire.extend(kept)
