"""Snapshots under faults: neighbours serve where they can, nobody starves, and it would be seen if somebody did."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chaos.simulation import world
from chaos.simulation.character import Character, draw
from chaos.simulation.node import SimNode
from chaos.simulation.world import Scenario, World
from replicator.config.timing import RaftTiming
from replicator.engine.snapshots.duties import SnapshotDuties
from replicator.engine.snapshots.sources import SnapshotSources
from replicator.model.ids import NodeId
from replicator.v1 import raft_pb2
from tests.support.planted_bugs import replaced

SEEDS = range(500, 508)
SEEDS_TO_CATCH_WITHIN = range(500, 540)
LAME = frozenset({NodeId("n1"), NodeId("n2")})  # one of each region, whom leaders ask first


def small_logs(dice: random.Random, timing: RaftTiming, mix: str | None = None) -> Character:
    """As ever, but the log holds so little that a node that was away needs a snapshot."""
    return replace(draw(dice, timing, mix), log_entries_max=4)


def lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: range = SEEDS) -> Iterator[tuple[str, int]]:
    """One seed after the other: what was violated, and how many snapshots others than leaders have made."""
    monkeypatch.setattr(world, "draw", small_logs)
    monkeypatch.setattr(world, "SNAPSHOT_PERIOD_S", 0.25)  # several sources in a row may be of no use: all in the bound
    for seed in seeds:
        life = World(seed, Scenario(nodes=5, profile="lan"), tmp_path / str(seed))
        violation = life.run().violation
        made = sum(node.ways.made_for_leader for node in life._nodes if node.ways is not None)
        yield f"seed {seed}: {violation}" if violation else "", made


def are_mute(monkeypatch: pytest.MonkeyPatch) -> None:
    """These never answer a leader that asks them for a snapshot, not even after the heal."""
    obey = SnapshotDuties.wanted

    def wanted(self: SnapshotDuties, peer: NodeId, message: raft_pb2.SnapshotWanted) -> None:
        if self._node_id not in LAME:
            obey(self, peer, message)

    monkeypatch.setattr(SnapshotDuties, "wanted", wanted)


def are_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """From these nothing can be fetched, although their links are up and they promise everything.

    Unless they lead: members come and go, and any other node that has everything may have gone.
    """
    fetch = World._snapshot_of

    def snapshot_of(self: World, asker: SimNode, peer: NodeId, snapshot_id: str) -> Path | None:
        source = next((node.replica for node in self._nodes if node.node_id == peer), None)
        is_lame = peer in LAME and source is not None and not source.graft.is_leader
        return None if is_lame else fetch(self, asker, peer, snapshot_id)

    monkeypatch.setattr(World, "_snapshot_of", snapshot_of)


def test_nobody_starves_while_neighbours_crash_are_cut_off_and_run_out_of_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    violations, made = zip(*lives(tmp_path, monkeypatch), strict=True)

    assert set(violations) == {""}
    assert sum(made) > 0


@pytest.mark.parametrize("trouble", [are_mute, are_unreachable])
def test_nobody_starves_for_a_neighbour_that_is_of_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Callable[[pytest.MonkeyPatch], None]
) -> None:
    trouble(monkeypatch)

    assert {violation for violation, _ in lives(tmp_path, monkeypatch)} == {""}


@pytest.mark.parametrize(("trouble", "deaf_to"), [(are_mute, "_why_not"), (are_unreachable, "failed")])
def test_a_leader_that_never_finds_another_source_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Callable[[pytest.MonkeyPatch], None], deaf_to: str
) -> None:
    """The simulation is worth nothing unless it can fail."""
    trouble(monkeypatch)
    with replaced(SnapshotSources, deaf_to, lambda *_args: ""):
        assert any(violation for violation, _ in lives(tmp_path, monkeypatch, SEEDS_TO_CATCH_WITHIN))
