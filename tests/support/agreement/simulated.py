"""The stage of the deterministic simulation: the shipped engine and storage, in virtual time.

Waits let virtual time pass; nothing here ever suspends, so a script runs to its end in one step of its coroutine.
"""

import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from chaos.history import History
from chaos.simulation import world
from chaos.simulation.node import SimNode, voters
from chaos.simulation.promises import Violation
from chaos.simulation.record import copy_of
from chaos.simulation.world import Verdict, World
from replicator.config.timing import RaftTiming
from replicator.engine.events import Event, Outgoing, Turn
from replicator.model.errors import ReplicatorError
from replicator.model.ids import NodeId, Region
from replicator.model.members import Member, MemberRole, Membership, SetMember
from replicator.transport.settings import LinkTimers
from tests.support.agreement.scenarios import Course, Scenario
from tests.support.agreement.simulated_load import SimulatedLoad, SingleCalls
from tests.support.agreement.stage import Ended, Reign

WAIT_S = 30.0  # virtual; far more than the silence and some elections
SILENCE_S = LinkTimers().keepalive_time_s + LinkTimers().keepalive_timeout_s  # then the transport ends a link
ASLEEP_S = 1e6  # until it is woken

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class TimedLife(world.Scenario):
    """A life with timers of its own."""

    timers: RaftTiming = field(kw_only=True)

    @property
    def timing(self) -> RaftTiming:
        return self.timers


class SimulatedStage(World):
    """Implements stage.Stage. judged: by the world as well, which sees all nodes; if not, by the record alone."""

    def __init__(self, seed: int, timing: RaftTiming, directory: Path, *, judged: bool = True) -> None:
        super().__init__(seed, TimedLife(profile="lan", mix="calm", timers=timing), directory)
        self._network.calm()
        self.election_s = timing.election_timeout_max_s
        self.names: Sequence[NodeId] = tuple(node.node_id for node in self._nodes)
        self._judged = judged
        self.course: Course | None = None
        self.history = History()
        self.load = SimulatedLoad(self._nodes, self._timeline, random.Random(f"{seed}/load"), self.history)
        self._script: Callable[[], Coroutine[Any, Any, Course]] | None = None
        self._cut: set[tuple[NodeId, NodeId]] = set()
        self._cut_at_s = 0.0
        self._stopped: set[NodeId] = set()

    def _add_node(self, name: NodeId, names: Sequence[NodeId], directory: Path) -> SimNode:
        """The real processes prefer no region either: a preference moves leadership in the middle of a script."""
        node = super()._add_node(name, names, directory)
        node.settings = replace(node.settings, leader_preference=())
        return node

    def play(self, scenario: Scenario, lead_in_writes: int) -> Verdict:
        """The whole life: a lead-in, the script, the heal. The verdict is that of the world, which sees all nodes."""

        async def script() -> Course:
            await self.more_writes(lead_in_writes)
            return await scenario.play(self)

        self._script = script
        return self.run()

    def _live(self) -> None:
        """In place of what a seed would strike with."""
        assert self._script is not None
        for node in self._nodes:
            node.start()
        for client in self._clients:
            for begins in (client.next_write, client.next_read, client.session.next_read):
                self._timeline.after(self.election_s * self._dice.random(), begins)
        self.load.begin(self.names)
        self.course = performed(self._script())
        self._recover(self.election_s)
        for node in self._nodes:
            self.history.copies.append(copy_of(node, SimulatedLoad.wrote))

    def _recover(self, election_s: float) -> None:
        """As World has it, once writes of the recorded callers go on and they have ended, too."""
        performed(self.heal())
        performed(self.wake(*self._stopped.copy()))
        self._faults.heal_for_good()
        performed(self.more_writes())
        self.load.stop()
        self._until(lambda: self.load.has_ended, "callers to end")
        with self._unless_judged():
            super()._recover(election_s)

    # watcher.Watcher -----------------------------------------------------------------------------------------------

    def took(self, node: SimNode, events: Sequence[Event]) -> None:
        with self._unless_judged():
            super().took(node, events)

    def applied(self, node: SimNode, turn: Turn) -> None:
        with self._unless_judged():
            super().applied(node, turn)

    def stored(self, node: SimNode, turn: Turn) -> None:
        with self._unless_judged():
            super().stored(node, turn)

    def turned(self, node: SimNode, turn: Turn) -> None:
        with self._unless_judged():
            super().turned(node, turn)

    def said(self, node: SimNode, frames: Sequence[Outgoing]) -> None:
        with self._unless_judged():
            super().said(node, frames)

    def _unless_judged(self) -> AbstractContextManager[None]:
        return nullcontext() if self._judged else suppress(Violation)

    # What callers and observers see --------------------------------------------------------------------------------

    async def more_writes(self, count: int = 30) -> None:
        goal = self.load.acknowledged + count
        self._until(lambda: self.load.acknowledged >= goal, f"{count} acknowledged writes")

    async def ask(self, node: NodeId) -> SingleCalls:
        return SingleCalls(self.load, self._places[node], self._until)

    async def reign(self, *, without: NodeId | None = None) -> Reign:
        found: list[Reign] = []

        def somebody_leads() -> bool:
            for node in self._nodes:
                if node.replica is None or node.node_id in self._stopped or node.node_id == without:
                    continue
                if node.replica.graft.is_leader:
                    found.append(Reign(node.node_id, node.replica.graft.term))
            return bool(found)

        self._until(somebody_leads, f"a leader without {without}")
        return max(found, key=lambda reign: reign.term)

    async def gives_up(self, node: NodeId) -> bool:
        """Here time can be told: a leader that is cut off is given one election timeout, and heartbeats to notice."""
        place = self._places[node]
        self._until(lambda: place.replica is not None and not place.replica.graft.is_leader, f"{node} to give up")
        assert place.replica is not None
        took_s, given_s = self._timeline.now_s - self._cut_at_s, self.election_s + 3 * self._timing.heartbeat_s
        if self._cut and took_s > given_s:
            raise Violation(f"{self._timeline.now_s:.3f}s: {node} gave up {took_s:.3f} s after it had been cut off")
        return bool(place.replica.linked)

    async def lasts(self, seconds: float) -> None:
        self._pass(seconds)

    # What happens --------------------------------------------------------------------------------------------------

    async def kill(self, *nodes: NodeId) -> None:
        for node in nodes:
            self._places[node].crash()

    async def start(self, *nodes: NodeId, joining: bool = False) -> None:
        for name in nodes:
            node = self._places[name]
            if joining:
                node.settings = replace(node.settings, membership=Membership(node.membership.index, ()), joining=True)
            node.start()
            if joining:
                self._take_in(node)

    async def stop(self, *nodes: NodeId) -> None:
        for node in nodes:
            self._stopped.add(node)
            self._places[node].pause(ASLEEP_S)
            for other in self._others(node):
                self._timeline.after(SILENCE_S, lambda node=node, other=other: self._end_link(node, other))  # type: ignore[misc]

    async def wake(self, *nodes: NodeId) -> None:
        for node in nodes:
            self._stopped.discard(node)
            self._places[node].resume()
        await self.heal()

    async def wipe(self, node: NodeId) -> None:
        """The place begins anew, as one of those that founded the group."""
        before = self._places[node]
        self._dismiss(before)
        after = self._recruit(node)
        after.settings = replace(after.settings, membership=voters(self.names), joining=False)

    async def cut(self, sender: NodeId, receiver: NodeId) -> None:
        self._cut.add((sender, receiver))
        self._cut_at_s = self._timeline.now_s
        self._network.stall(sender, receiver)
        self._timeline.after(SILENCE_S, lambda: self._end_link(sender, receiver))

    async def flap(self, one: NodeId, other: NodeId) -> None:
        self._network.flap(one, other)

    async def heal(self) -> None:
        self._cut.clear()
        for pair in self._network.pairs:
            self._network.heal(*pair)

    # What operators do ---------------------------------------------------------------------------------------------

    async def transfer(self, to: NodeId) -> Ended:
        leader = self._places[(await self.reign()).node]
        ended: list[NodeId | ReplicatorError] = []
        timeout_s = 2 * self.election_s
        leader.call(lambda process: process.engine.transfer_leadership(to, timeout_s=timeout_s), ended.append)
        self._until(lambda: bool(ended), "the end of a transfer")
        return "refused" if isinstance(ended[0], ReplicatorError) else "ok"

    async def add(self) -> NodeId:
        node = self._recruit(NodeId(f"n{len(self._places) + 1}"))
        node.start()
        self._take_in(node)
        await self.votes(node.node_id)
        return node.node_id

    async def is_refused(self, node: NodeId) -> bool:
        place, others = self._places[node], self._others(node)
        assert all(not self._admit_each_other(node, other) for other in others)
        self._pass(self.election_s)
        return not any(self._network.linked(node, other) for other in others) and place.disk.state.commit_index == 0

    async def votes(self, node: NodeId) -> bool:
        def both_say_so() -> bool:
            leading = [other for other in self._nodes if other.replica is not None and other.replica.graft.is_leader]
            asked = [*leading, self._places[node]]
            return bool(leading) and all(node in other.membership.voters for other in asked)

        self._until(both_say_so, f"{node} to vote")
        return True

    # ---------------------------------------------------------------------------------------------------------------

    def _take_in(self, node: SimNode) -> None:
        """Asks the leader until it is done, as a joining node does."""
        name = node.node_id
        asked = SetMember(
            Member(name, Region("simulated"), f"{name}.peer:1", f"{name}.api:1", MemberRole.VOTER, node.directory_id)
        )
        granted: list[Membership] = []

        def answered(result: Membership | ReplicatorError) -> None:
            if isinstance(result, Membership):
                granted.append(result)

        def ask() -> bool:
            for other in self._nodes:
                if not granted and other.replica is not None and other.replica.graft.is_leader:
                    other.call(
                        lambda process: process.engine.change_members(asked, timeout_s=self.election_s), answered
                    )
            return bool(granted)

        self._until(ask, f"the group to take {name} in")

    def _end_link(self, one: NodeId, other: NodeId) -> None:
        """What the transport does to a link that has been silent for too long, if it is still silent."""
        pair = {(one, other), (other, one)}
        if pair & self._cut or {one, other} & self._stopped:
            self._network.block(one, other)

    def _others(self, node: NodeId) -> list[NodeId]:
        return [other.node_id for other in self._nodes if other.node_id != node]

    def _until(self, reached: Callable[[], bool], what: str) -> None:
        self._pass_until(reached, self._timeline.now_s + WAIT_S)
        if not reached():
            raise Violation(f"{self._timeline.now_s:.3f}s: not within {WAIT_S:g} s: {what}")


def performed(script: Awaitable[Answer]) -> Answer:
    """The result of a coroutine that never suspends."""
    steps = script.__await__()
    try:
        next(steps)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise AssertionError("a simulated stage does not wait")
