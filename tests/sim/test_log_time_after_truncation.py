"""A life on purpose, where seeds are too rare: a leader's own entries are cut out of its log, and it leads again.

Its successor was down meanwhile, so that log time has lost that time. A node that still counts from the entries that
are gone gives it back at once: a leap, by which sessions would expire before their time.
"""

from collections.abc import Callable
from pathlib import Path

from chaos.simulation.node import SimNode
from chaos.simulation.world import Scenario, World
from replicator.model.errors import ReplicatorError
from replicator.model.ids import NodeId
from replicator.service.write import Written
from tests.support import planted_bugs

GONE_WRITES = 12  # more than its successor appends: else new entries would take the place of every one of them
DOWN_S = 20.0
WAIT_S = 30.0
WRITE_S = 5.0


class LeadsAgain(World):
    """Nobody asks for anything but the script."""

    def __init__(self, directory: Path) -> None:
        super().__init__(0, Scenario(nodes=3, profile="lan", mix="calm"), directory)
        self.has_led_again = False

    def _live(self) -> None:
        for node in self._nodes:
            node.start()
        first = self._leader()
        self._written_at(first)
        others = [node for node in self._nodes if node is not first]
        for other in others:
            self._network.block(first.node_id, other.node_id)
        for number in range(GONE_WRITES):
            self._write(first, f"gone/{number}", [])
            self._pass(0.2 * self._timing.heartbeat_s)  # each is an entry of its own
        for other in others:
            other.crash()
        self._pass(DOWN_S)
        for other in others:
            other.start()
        second = self._leader(but=first)
        self._written_at(second)
        for other in others:
            self._network.heal(first.node_id, other.node_id)
        self._hand_over(second, first.node_id)
        self.has_led_again = self._leader() is first
        self._written_at(first)
        self._until(self._judge.convergence.is_reached, "all nodes to be alike")

    def _leader(self, but: SimNode | None = None) -> SimNode:
        leading: list[SimNode] = []

        def somebody_leads() -> bool:
            leading[:] = [
                node for node in self._nodes
                if node is not but and node.replica is not None and node.replica.pump.knows_commit_index()
            ]  # fmt: skip
            return bool(leading)

        self._until(somebody_leads, "a leader")
        return leading[0]

    def _write(self, node: SimNode, key: str, answers: list[Written | ReplicatorError]) -> None:
        name = key.encode()
        node.call(lambda process: process.services.write.put(name, b"v", None, timeout_s=WRITE_S), answers.append)

    def _written_at(self, node: SimNode) -> None:
        answers: list[Written | ReplicatorError] = []
        self._write(node, f"kept/{node.node_id}", answers)
        self._until(lambda: bool(answers), "an answer")
        assert isinstance(answers[0], Written), answers

    def _hand_over(self, node: SimNode, target: NodeId) -> None:
        ended: list[NodeId | ReplicatorError] = []

        def ask() -> bool:
            if not ended or isinstance(ended[-1], ReplicatorError):
                node.call(lambda process: process.engine.transfer_leadership(target, timeout_s=WRITE_S), ended.append)
                self._pass(self._timing.election_timeout_max_s)
            return bool(ended) and ended[-1] == target

        self._until(ask, f"{target} to lead")

    def _until(self, reached: Callable[[], bool], what: str) -> None:
        self._pass_until(reached, self._timeline.now_s + WAIT_S)
        assert reached(), f"not within {WAIT_S:g} s: {what}"


def test_a_leader_that_comes_back_counts_from_what_is_in_its_log(tmp_path: Path) -> None:
    life = LeadsAgain(tmp_path)
    assert life.run().violation == ""
    assert life.has_led_again


def test_it_would_be_seen_if_it_did_not(tmp_path: Path) -> None:
    with planted_bugs.remembers_the_time_of_entries_that_are_gone():
        violation = LeadsAgain(tmp_path).run().violation
    assert "leap of log time" in violation
