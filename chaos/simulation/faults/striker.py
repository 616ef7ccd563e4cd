"""What strikes a simulated cluster. Which fault and how often is the seed's character."""

from chaos.simulation.character import MIXES, POWER_FAILS_IN_INSTALL
from chaos.simulation.faults.stories import Stories
from chaos.simulation.node import SimNode


class Faults(Stories):
    """Strikes until `heal_for_good`."""

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

    def installing(self, node: SimNode) -> bool:
        """The node is about to install a snapshot: does its power fail meanwhile?"""
        chance = POWER_FAILS_IN_INSTALL.get(self.character.mix, 0.0)
        if self.over or not chance or self.dice.random() >= chance:
            return False
        self._later(self.dice.choice((self._blink_s(), self._downtime_s())), lambda: self._repair(node))
        return True

    def heal_for_good(self) -> None:
        """Every fault ends, everybody runs. Clocks go on as they are: nobody can heal them."""
        self.over = True
        self.heal_all()
        self.network.calm()
        for node in self.nodes:
            node.slow_until_s = node.full_until_s = 0.0
            node.sync_fails = node.power_fails = False
            node.resume()
            if node.replica is None:
                node.start()
