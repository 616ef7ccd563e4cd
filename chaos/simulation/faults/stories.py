"""Faults in a row that lead to where bugs live: one method a story."""

from functools import partial

from chaos.simulation.faults.links import LinkFaults
from chaos.simulation.faults.members import MemberFaults
from chaos.simulation.faults.nodes import NodeFaults
from chaos.simulation.node import SimNode
from replicator.model.ids import NodeId


class Stories(LinkFaults, NodeFaults, MemberFaults):
    """Leaders that leave and come back, answers that arrive too late, processes that did not ask."""

    def transfer(self) -> None:
        self._hand_over(self._leader(), None)

    def depose(self) -> None:
        """The leader goes on taking writes that nobody else sees, comes back for a moment, and leaves again."""
        leader = self._leader()
        away_s = self._unit_s() * (0.5 + 2.0 * self.dice.random())
        back_s = self.timing.election_timeout_min_s * self.dice.random()
        self.isolate_leader()
        self._later(away_s, self.heal_all)
        self._later(away_s + back_s, lambda: self._cut_off({leader.node_id}) if self.dice.random() < 0.5 else None)

    def deafen_leader(self) -> None:
        """Followers hear the leader and it does not hear them; then it is alone, and goes on with its log of that term.

        It comes back when the third leader leads. What it has is half shared and half its own, and nobody knows which.
        """
        leader, deaf_s = self._leader(), self._unit_s() * (0.1 + 0.4 * self.dice.random())
        for peer in leader.peers:
            self.network.stall(peer, leader.node_id)
        self._later(deaf_s, lambda: self._cut_off({leader.node_id}))
        self._later(deaf_s + 1.4 * self._unit_s(), self.transfer)
        self._later(deaf_s + self._unit_s() * (1.4 + self.dice.random()), self.heal_all)

    def late_answers(self) -> None:
        """A leader hears nothing until others have elected another one; then what they answered before reaches it."""
        leader, silent_s = self._leader(), self._unit_s() * (0.7 + 0.25 * self.dice.random())
        peers = leader.peers
        for peer in peers:
            self.network.stall(peer, leader.node_id)
            self._later(self.timing.heartbeat_s, partial(self.network.stall, leader.node_id, peer))
            self._later(silent_s, partial(self.network.release, peer, leader.node_id))
        self._later(silent_s + self._unit_s() * self.dice.random(), self.heal_all)

    def remove_heir(self) -> None:
        """A leader takes a follower out, and hears of nobody any more: that follower may be the one to finish it."""
        leader = self._leader()
        successors = [node for node in self.nodes if node is not leader]
        if not successors or self.operator is None:
            return
        if not self.operator.remove(self.dice.choice(successors).node_id, at=leader):
            return
        for peer in leader.peers:
            self.network.stall(peer, leader.node_id)
        self._later(0.5 * self._unit_s(), lambda: self._cut_off({leader.node_id}))
        self._later(self._unit_s() * (2.0 + self.dice.random()), self.heal_all)

    def stutter(self) -> None:
        """A node starts again and again while the leader's disk is slow: answers come to a process that did not ask."""
        leader, unit_s = self._leader(), self._unit_s()
        leader.slow_until_s, leader.slow_s = self.timeline.now_s + 2.5 * unit_s, 0.3 * unit_s
        node = self.dice.choice([node for node in self.nodes if node is not leader] or [leader])
        for number in range(8):
            self._later(0.3 * unit_s * number, lambda: self._down(node, self._blink_s()))

    def leave_and_return(self) -> None:
        """A leader hands over and leads again, while what a follower told it at first is still on its way."""
        leader = self._leader()
        others = [node.node_id for node in self.nodes if node is not leader]
        if len(others) < 2:
            return
        silent, successor = self.dice.sample(others, 2)
        step_s = 4.0 * self.timing.heartbeat_s
        self.network.stall(silent, leader.node_id)
        self._later(step_s, lambda: self._hand_over(leader, successor))
        self._later(2.5 * step_s, lambda: self._hand_over_by_name(successor, leader.node_id))
        self._later((3.0 + 2.0 * self.dice.random()) * step_s, lambda: self.network.heal(silent, leader.node_id))

    def _hand_over_by_name(self, name: NodeId, target: NodeId) -> None:
        for node in self.nodes:  # it may have been removed meanwhile
            if node.node_id == name:
                self._hand_over(node, target)

    def _hand_over(self, node: SimNode, target: NodeId | None) -> None:
        """May be refused: another one is under way, nobody is linked, or the target has no vote any more."""
        timeout_s = 2.0 * self._unit_s() / 3.0
        if node.replica is not None and node.replica.graft.is_leader:
            node.call(
                lambda process: process.engine.transfer_leadership(target, timeout_s=timeout_s), lambda _result: None
            )
