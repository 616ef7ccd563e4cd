"""What happens to links: one method a fault."""

from chaos.simulation.faults.striking import Striking

STALL_S_MAX = 8.0  # the transport ends a link that is silent for longer


class LinkFaults(Striking):
    """Cuts, losses, delays, and what undoes them."""

    def reset_link(self) -> None:
        if self.network.pairs:
            self.network.reset(*self.dice.choice(self.network.pairs))

    def flap(self) -> None:
        """A link breaks and comes back, again and again, faster than anybody can elect."""
        if not self.network.pairs:
            return
        pair = self.dice.choice(self.network.pairs)
        for number in range(self.dice.randint(3, 10)):
            self._later(number * self._unit_s() * self.dice.choice((0.15, 0.4)), lambda: self.network.flap(*pair))

    def cut_link(self) -> None:
        if self.network.pairs:
            self.network.block(*self.dice.choice(self.network.pairs))

    def isolate(self) -> None:
        self._cut_off({self.dice.choice(self.nodes).node_id})

    def isolate_leader(self) -> None:
        """With the nodes on its side: a minority, or none."""
        leader = self._leader()
        others = [node.node_id for node in self.nodes if node is not leader]
        self._cut_off({leader.node_id, *self.dice.sample(others, self.dice.randint(0, max(0, len(others) // 2 - 1)))})

    def split(self) -> None:
        """Two sides that do not see each other."""
        names = [node.node_id for node in self.nodes]
        self._cut_off(set(self.dice.sample(names, self.dice.randint(0, len(names) // 2))))

    def split_in_half(self) -> None:
        """A majority and the largest minority, the leader on either side; of an even number, no majority at all."""
        names = [node.node_id for node in self.nodes]
        self._cut_off(set(self.dice.sample(names, len(names) // 2)))

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
        """Frames are lost in one direction, some or all, on a link that stays up: a queue is full."""
        if not self.network.pairs:
            return
        sender, receiver = self._direction()
        self.network.lose(sender, receiver, self.dice.choice((0.05, 0.5, 1.0)))
        self._later(2.0 * self._unit_s(), lambda: self.network.lose(sender, receiver, 0.0))

    def detour(self) -> None:
        """A pair is farther apart for a while: routes change."""
        if not self.network.pairs:
            return
        pair = self.dice.choice(self.network.pairs)
        self.network.stretch(*pair, self.dice.choice((3.0, 10.0)))
        self._later(3.0 * self._unit_s() * self.dice.random(), lambda: self.network.stretch(*pair, 1.0))

    def heal_some(self) -> None:
        for pair in self.network.pairs:
            if self.dice.random() < 0.7:
                self.network.heal(*pair)

    def heal_all(self) -> None:
        for pair in self.network.pairs:
            self.network.heal(*pair)
