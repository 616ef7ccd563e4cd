"""What happens to nodes and their disks and clocks: one method a fault."""

from chaos.simulation.faults.striking import Striking
from chaos.simulation.node import SimNode

PAUSE_S_MIN, PAUSE_S_MAX = 1.0, 30.0  # a virtual machine that moves house, a laptop that sleeps
DRIFT_PPM_MAX = 500.0  # what a bad crystal does, and what NTP will correct at most


class NodeFaults(Striking):
    """Deaths, pauses, failing disks, wrong clocks."""

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

    def restart(self) -> None:
        """Stopped in order, as for an upgrade, and started again."""
        node, for_s = self._someone(), self.dice.choice((self._blink_s(), self._downtime_s()))

        def stopped() -> None:
            self.timeline.after(0.0 if self.over else for_s, lambda: node.start() if node.process is None else None)

        node.shut_down(stopped)

    def cut_power(self) -> None:
        """Of one node, leading or not; now, or in the middle of its next commit: see power.py."""
        node, for_s = self._someone(), self.dice.choice((self._blink_s(), self._downtime_s()))
        if self.dice.random() < 0.5:
            self._lose_power(node, for_s)
        else:
            node.power_fails = True
            self._later(0.5 * self._unit_s() + for_s, lambda: self._repair(node))

    def cut_all_power(self) -> None:
        for node in self.nodes:
            self._lose_power(node, self.dice.choice((self._blink_s(), self._downtime_s())))

    def break_disk(self) -> None:
        """A sync fails: the node must stop. Somebody starts it again on what its disk holds."""
        node = self._someone()
        node.sync_fails = True
        self._later(self._unit_s() + self._downtime_s(), lambda: self._repair(node))

    def pause(self) -> None:
        self._pause(self.dice.choice(self.nodes))

    def pause_leader(self) -> None:
        self._pause(self._leader())

    def sleep(self) -> None:
        """A pause of 1 to 30 s, whatever the timers are; long ones last until the heal."""
        pause_s = PAUSE_S_MIN * (PAUSE_S_MAX / PAUSE_S_MIN) ** self.dice.random()
        self._someone().pause(pause_s)

    def slow_disk(self) -> None:
        """Commits take as long as elections do."""
        node = self.dice.choice(self.nodes)
        node.slow_until_s = self.timeline.now_s + 3.0 * self._unit_s() * self.dice.random()
        node.slow_s = self.dice.choice((0.3, 1.5)) * self._unit_s()

    def full_disk(self) -> None:
        self.dice.choice(self.nodes).full_until_s = self.timeline.now_s + 4.0 * self._unit_s() * self.dice.random()

    def step_calendar(self) -> None:
        """It jumps, or (one time in five) stops."""
        node = self.dice.choice(self.nodes)
        if node.clock is not None:
            skew_ms = node.wall_skew_ms(self.dice)
            if skew_ms // node.calendar_error % 5 == 0:
                node.clock.stop_calendar()
            else:
                node.clock.set_calendar(skew_ms)

    def change_drift(self) -> None:
        """Also of the monotonic clock."""
        node = self.dice.choice(self.nodes)
        node.drift_ppm = self.dice.uniform(-DRIFT_PPM_MAX, DRIFT_PPM_MAX)
        if node.clock is not None:
            node.clock.set_drift(node.drift_ppm)

    def _downtime_s(self) -> float:
        return 0.05 + self.dice.expovariate(1 / self.character.downtime_s)

    def _blink_s(self) -> float:
        return self.dice.random() * self.timing.heartbeat_s

    def _down(self, node: SimNode, for_s: float) -> None:
        if node.replica is not None:
            node.crash()
            self._later(for_s, lambda: node.start() if node.replica is None else None)

    def _lose_power(self, node: SimNode, for_s: float) -> None:
        if node.replica is not None:
            node.lose_power()
            self._later(for_s, lambda: node.start() if node.replica is None else None)

    def _repair(self, node: SimNode) -> None:
        node.sync_fails = node.power_fails = False
        if node.replica is None:
            node.start()

    def _pause(self, node: SimNode) -> None:
        node.pause(self._unit_s() * (0.3 + 3.0 * self.dice.random()))
