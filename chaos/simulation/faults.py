"""What strikes a simulated cluster: one method a fault. Which and how often is the seed's character."""

import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from chaos.simulation.character import MIXES, Character
from chaos.simulation.network import Network
from chaos.simulation.node import SimNode
from chaos.simulation.timeline import Timeline
from replicator.config.timing import RaftTiming
from replicator.engine.transfer import TransferWish
from replicator.model.errors import Unavailable
from replicator.model.ids import NodeId

STALL_S_MAX = 8.0  # the transport ends a link that is silent for longer


@dataclass(slots=True)
class Faults:
    """Strikes until `heal_for_good`."""

    nodes: Sequence[SimNode]
    network: Network
    timeline: Timeline
    dice: random.Random
    character: Character
    timing: RaftTiming
    over: bool = False

    def strike(self) -> None:
        """One fault now, and the next one in a while."""
        if self.over:
            return
        self.timeline.after(self.dice.expovariate(self.character.fault_rate_hz), self.strike)
        mix = MIXES[self.character.mix]
        getattr(self, self.dice.choices(tuple(mix), tuple(mix.values()))[0])()

    def voted(self, node: SimNode) -> None:
        """The node has just told of a vote: a good moment to die, and to be asked again soon after."""
        if not self.over and self.dice.random() < self.character.crash_after_vote:
            incarnation = node.incarnation
            delay_s = self.dice.random() * self.timing.heartbeat_s
            self._later(delay_s, lambda: self._down(node, self._blink_s()) if node.incarnation == incarnation else None)

    def heal_for_good(self) -> None:
        """Every fault ends, everybody runs."""
        self.over = True
        self.heal_all()
        self.network.lossless()
        for node in self.nodes:
            node.paused_until_s = node.slow_until_s = node.full_until_s = 0.0
            if node.replica is None:
                node.start()

    # Links ---------------------------------------------------------------------------------------------------------

    def reset_link(self) -> None:
        if self.network.pairs:
            self.network.reset(*self.dice.choice(self.network.pairs))

    def cut_link(self) -> None:
        if self.network.pairs:
            self.network.block(*self.dice.choice(self.network.pairs))

    def isolate(self) -> None:
        self._cut_off({self.dice.choice(self.nodes).node_id})

    def isolate_leader(self) -> None:
        """With whoever stays on its side: a minority, or nobody."""
        leader = self._leader()
        others = [node.node_id for node in self.nodes if node is not leader]
        self._cut_off({leader.node_id, *self.dice.sample(others, self.dice.randint(0, max(0, len(others) // 2 - 1)))})

    def split(self) -> None:
        """Two sides that do not see each other."""
        names = [node.node_id for node in self.nodes]
        self._cut_off(set(self.dice.sample(names, self.dice.randint(0, len(names) // 2))))

    def ring(self) -> None:
        """Each node sees only its neighbours: majorities overlap, and none sees all."""
        names = [node.node_id for node in self.nodes]
        self.dice.shuffle(names)
        neighbours = {frozenset((names[i], names[(i + 1) % len(names)])) for i in range(len(names))}
        for pair in self.network.pairs:
            if frozenset(pair) not in neighbours:
                self.network.block(*pair)

    def bridge(self) -> None:
        """Two sides, and one node that sees both."""
        names = [node.node_id for node in self.nodes]
        self.dice.shuffle(names)
        half = len(names) // 2
        for a in names[:half]:
            for b in names[half + 1 :]:
                self.network.block(min(a, b), max(a, b))

    def stall(self) -> None:
        """Nothing moves in one direction; then it arrives late, or the link breaks and it is lost."""
        if not self.network.pairs:
            return
        sender, receiver = self._direction()
        self.network.stall(sender, receiver)
        end = self.network.heal if self.dice.random() < 0.6 else self.network.reset
        self._later(self.dice.random() * STALL_S_MAX, lambda: end(sender, receiver))
        self._later(STALL_S_MAX, lambda: self.network.heal(sender, receiver))

    def lose_frames(self) -> None:
        """A queue overflows now and then: frames are lost on a link that stays up."""
        if not self.network.pairs:
            return
        sender, receiver = self._direction()
        self.network.lose(sender, receiver, self.dice.choice((0.05, 0.5)))
        self._later(2.0 * self._unit_s(), lambda: self.network.lose(sender, receiver, 0.0))

    def heal_some(self) -> None:
        for pair in self.network.pairs:
            if self.dice.random() < 0.7:
                self.network.heal(*pair)

    def heal_all(self) -> None:
        for pair in self.network.pairs:
            self.network.heal(*pair)

    # Nodes ---------------------------------------------------------------------------------------------------------

    def crash(self) -> None:
        self._down(self.dice.choice(self.nodes), self._downtime_s())

    def crash_leader(self) -> None:
        self._down(self._leader(), self._downtime_s())

    def crash_all(self) -> None:
        for node in self.nodes:
            self._down(node, self._downtime_s())

    def blink(self) -> None:
        """Gone and back before anybody could notice."""
        self._down(self.dice.choice(self.nodes), self._blink_s())

    def blink_all(self) -> None:
        for node in self.nodes:
            self._down(node, self._blink_s())

    def pause(self) -> None:
        self._pause(self.dice.choice(self.nodes))

    def pause_leader(self) -> None:
        self._pause(self._leader())

    def slow_disk(self) -> None:
        """Commits take as long as elections do."""
        node = self.dice.choice(self.nodes)
        node.slow_until_s = self.timeline.now_s + 3.0 * self._unit_s() * self.dice.random()
        node.slow_s = self.dice.choice((0.3, 1.5)) * self._unit_s()

    def full_disk(self) -> None:
        self.dice.choice(self.nodes).full_until_s = self.timeline.now_s + 4.0 * self._unit_s() * self.dice.random()

    def step_calendar(self) -> None:
        clock = self.dice.choice(self.nodes).clock
        if clock is not None:
            clock.wall_skew_ms += self.dice.randrange(-500, 500)

    # Scenarios -----------------------------------------------------------------------------------------------------

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
        self._later(
            2.5 * step_s,
            lambda: self._hand_over(next(node for node in self.nodes if node.node_id == successor), leader.node_id),
        )
        self._later((3.0 + 2.0 * self.dice.random()) * step_s, lambda: self.network.heal(silent, leader.node_id))

    # ---------------------------------------------------------------------------------------------------------------

    def _later(self, delay_s: float, action: Callable[[], object]) -> None:
        self.timeline.after(delay_s, lambda: None if self.over else action())

    def _unit_s(self) -> float:
        return self.timing.election_timeout_max_s

    def _downtime_s(self) -> float:
        return 0.05 + self.dice.expovariate(1 / self.character.downtime_s)

    def _blink_s(self) -> float:
        return self.dice.random() * self.timing.heartbeat_s

    def _leader(self) -> SimNode:
        """Whoever leads the newest term; anybody, if nobody does."""
        leading = [node for node in self.nodes if node.replica is not None and node.replica.graft.is_leader]
        newest = max(leading, key=lambda node: node.disk.state.term, default=None)
        return newest if newest is not None else self.dice.choice(self.nodes)

    def _direction(self) -> tuple[NodeId, NodeId]:
        a, b = self.dice.choice(self.network.pairs)
        return (a, b) if self.dice.random() < 0.5 else (b, a)

    def _cut_off(self, side: set[NodeId]) -> None:
        for a, b in self.network.pairs:
            if (a in side) != (b in side):
                self.network.block(a, b)

    def _down(self, node: SimNode, for_s: float) -> None:
        if node.replica is not None:
            node.crash()
            self._later(for_s, lambda: node.start() if node.replica is None else None)

    def _pause(self, node: SimNode) -> None:
        node.paused_until_s = self.timeline.now_s + self._unit_s() * (0.3 + 3.0 * self.dice.random())

    def _hand_over(self, node: SimNode, target: NodeId | None) -> None:
        if node.replica is not None and node.replica.graft.is_leader:
            with contextlib.suppress(Unavailable):  # another one is under way, or nobody is linked
                node.replica.transfers.begin(
                    TransferWish(node_id=target), 2.0 * self._unit_s() / 3.0, lambda _result: None
                )
            node.wake()
