"""The shipped turn loop, watched: what the promises look at happens between its steps."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from chaos.simulation.writer import SimWriter
from replicator.engine.events import Event, Frame, Turn
from replicator.engine.replica import Replica
from replicator.engine.turns import Turns
from replicator.model.clock import Clock
from replicator.model.observe import Observer
from replicator.v1 import store_pb2

if TYPE_CHECKING:
    from chaos.simulation.node import SimNode


class WatchedTurns(Turns):
    """Of one process of a simulated node. open_turn: the one that is decided and not completed."""

    def __init__(
        self,
        node: "SimNode",
        writer: SimWriter,
        replica: Replica,
        *,
        clock: Clock,
        observer: Observer,
        on_applied: Callable[[Sequence[Sequence[store_pb2.BatchOutcome]]], None],
        after_turn: Callable[[], None],
    ) -> None:
        super().__init__(
            replica, writer, clock=clock, observer=observer, on_applied=on_applied, after_turn=self._completed
        )
        self._node, self._watcher, self._writer, self._then = node, node.watcher, writer, after_turn
        self.open_turn: Turn | None = None

    async def _turn(self) -> Turn:
        turn = self.open_turn = await super()._turn()
        assert not turn.bad_links, turn.bad_links
        assert not turn.lost_data, turn.lost_data  # a lost disk comes back under another id
        self._watcher.decided(self._node, turn)
        self._writer.flush_soon()
        return turn

    def _take_inbox(self) -> list[Event]:
        events = super()._take_inbox()
        self._watcher.took(self._node, events)
        return events

    def _take_frames(self) -> list[Frame]:
        frames = super()._take_frames()
        self._watcher.took(self._node, frames)  # what is refused was heard
        return frames

    def _tell_applied(self, outcomes: Sequence[Sequence[store_pb2.BatchOutcome]]) -> None:
        assert self.open_turn is not None
        self._watcher.applied(self._node, self.open_turn)
        super()._tell_applied(outcomes)

    def _completed(self) -> None:
        turn, self.open_turn = self.open_turn, None
        assert turn is not None
        self._watcher.turned(self._node, turn)
        self._then()
