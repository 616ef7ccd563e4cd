"""What a node tells those who ask whether to send it traffic, at each point of its life."""

from dataclasses import dataclass, field, replace

import pytest

from replicator.console.pages import ProbeAnswer
from replicator.model.ids import LogIndex, NodeId, Term
from replicator.model.members import Membership
from replicator.model.status import EngineStatus
from replicator.node.health import NodeHealth, Phase
from tests.support.members import voters


@dataclass
class AReplica:
    """Says what the test tells it to."""

    is_caught_up: bool = False
    applied_index: LogIndex = field(default_factory=lambda: LogIndex(7))
    _status: EngineStatus = field(
        default_factory=lambda: EngineStatus(
            "follower", Term(3), "us-1", LogIndex(9), LogIndex(7), LogIndex(9), "", voters(), ()
        )
    )

    def status(self) -> EngineStatus:
        return self._status

    def say(
        self,
        *,
        leader_id: str | None = None,
        read_only_reason: str | None = None,
        membership: Membership | None = None,
        refused_by: str = "",
    ) -> None:
        self._status = replace(self._status, refused_by=refused_by)
        if membership is not None:
            self._status = replace(self._status, membership=membership)
        if leader_id is not None:
            self._status = replace(self._status, leader_id=leader_id)
        if read_only_reason is not None:
            self._status = replace(self._status, read_only_reason=read_only_reason)


@pytest.fixture
def replica() -> AReplica:
    return AReplica()


@pytest.fixture
def health(replica: AReplica) -> NodeHealth:
    return NodeHealth(replica, NodeId("eu-1"))


def test_a_node_that_starts_lives_and_is_neither_started_nor_ready(health: NodeHealth) -> None:
    assert health.live().ok
    assert health.started() == ProbeAnswer(False, "starting")
    assert health.ready() == ProbeAnswer(False, "starting")


def test_a_node_is_ready_once_it_has_caught_up_and_says_what_it_waits_for(
    health: NodeHealth, replica: AReplica
) -> None:
    health.enter(Phase.SERVING)
    assert health.started().ok
    assert health.ready() == ProbeAnswer(False, "catching up: applied 7, leader us-1")

    replica.is_caught_up = True

    assert health.ready() == ProbeAnswer(True, "ready: leader us-1")


def test_a_node_that_loses_its_leader_later_still_gets_reads(health: NodeHealth, replica: AReplica) -> None:
    """A strict gate would take away nodes that callers could still read from."""
    health.enter(Phase.SERVING)
    replica.is_caught_up = True
    assert health.ready().ok

    replica.is_caught_up = False
    replica.say(leader_id="")

    assert health.ready() == ProbeAnswer(True, "ready: no leader known")


REMOVED = ProbeAnswer(False, "no longer a member (membership of index 40)")


def test_a_node_that_its_group_has_removed_wants_no_traffic(health: NodeHealth, replica: AReplica) -> None:
    """Nothing reaches it any more, so what it holds ages for ever."""
    health.enter(Phase.SERVING)
    replica.is_caught_up = True
    replica.say(membership=voters("ap-1", "eu-1", "us-1", index=30))
    assert health.ready().ok

    replica.say(membership=voters("ap-1", "us-1", index=40))
    assert health.ready() == REMOVED
    replica.say(leader_id="")
    assert health.ready() == REMOVED

    replica.say(membership=voters("ap-1", "eu-1", "us-1", index=50), leader_id="us-1")
    assert health.ready().ok, "it was taken back"


def test_a_node_that_its_group_does_not_let_in_wants_no_traffic(health: NodeHealth, replica: AReplica) -> None:
    """Nobody sends a removed node the news of its removal: it hears of it when it is refused."""
    health.enter(Phase.SERVING)
    replica.is_caught_up = True
    replica.say(membership=voters("ap-1", "eu-1", "us-1", index=30), leader_id="", refused_by="us-1")
    answer = health.ready()
    assert not answer.ok
    assert "rejected by us-1: this node was removed" in answer.text

    replica.say(leader_id="us-1", refused_by="")
    assert health.ready().ok


def test_a_node_that_was_removed_before_it_started_says_so(health: NodeHealth, replica: AReplica) -> None:
    health.enter(Phase.SERVING)
    replica.say(membership=voters("ap-1", "us-1", index=40), leader_id="")

    assert health.ready() == REMOVED


def test_a_node_that_joins_catches_up_whatever_old_memberships_it_meets(health: NodeHealth, replica: AReplica) -> None:
    health.enter(Phase.SERVING)
    replica.say(leader_id="")
    assert health.ready() == ProbeAnswer(False, "catching up: applied 7, no leader known")

    replica.say(membership=voters("ap-1", "us-1", index=40), leader_id="us-1")
    assert health.ready() == ProbeAnswer(False, "catching up: applied 7, leader us-1")


def test_a_full_disk_is_said_and_takes_nobody_away(health: NodeHealth, replica: AReplica) -> None:
    health.enter(Phase.SERVING)
    replica.is_caught_up = True
    replica.say(read_only_reason="disk full")

    assert health.ready() == ProbeAnswer(True, "ready: leader us-1; read-only: disk full")


def test_a_node_that_catches_up_says_what_holds_it_up(health: NodeHealth, replica: AReplica) -> None:
    health.enter(Phase.SERVING)
    replica.say(read_only_reason="disk full")

    assert health.ready() == ProbeAnswer(False, "catching up: applied 7, leader us-1; read-only: disk full")


def test_a_node_that_drains_lives_and_wants_no_traffic(health: NodeHealth, replica: AReplica) -> None:
    replica.is_caught_up = True
    health.enter(Phase.SERVING)
    health.enter(Phase.DRAINING)

    assert health.live().ok
    assert health.started().ok
    assert health.ready() == ProbeAnswer(False, "draining: other nodes answer")


def test_a_failed_node_says_why_everywhere(health: NodeHealth) -> None:
    health.enter(Phase.SERVING)
    health.enter(Phase.FAILED, failure="disk error")

    assert health.live() == ProbeAnswer(False, "failed: disk error")
    assert health.ready() == ProbeAnswer(False, "failed: disk error")


def test_life_never_goes_backwards(health: NodeHealth) -> None:
    health.enter(Phase.DRAINING)

    with pytest.raises(AssertionError):
        health.enter(Phase.SERVING)
