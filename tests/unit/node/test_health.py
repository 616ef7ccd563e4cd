"""What a node tells those who ask whether to send it traffic, at each point of its life."""

from dataclasses import dataclass, field, replace

import pytest

from replicator.console.pages import ProbeAnswer
from replicator.model.ids import LogIndex, Term
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

    def say(self, *, leader_id: str | None = None, read_only_reason: str | None = None) -> None:
        if leader_id is not None:
            self._status = replace(self._status, leader_id=leader_id)
        if read_only_reason is not None:
            self._status = replace(self._status, read_only_reason=read_only_reason)


@pytest.fixture
def replica() -> AReplica:
    return AReplica()


@pytest.fixture
def health(replica: AReplica) -> NodeHealth:
    return NodeHealth(replica)


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


def test_a_full_disk_is_said_and_takes_nobody_away(health: NodeHealth, replica: AReplica) -> None:
    health.enter(Phase.SERVING)
    replica.is_caught_up = True
    replica.say(read_only_reason="disk full")

    assert health.ready() == ProbeAnswer(True, "ready: leader us-1; read-only: disk full")


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
