"""What the world is told of its nodes: between the steps of a turn, and of what leaves a node."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from replicator.engine.events import Event, Outgoing, Turn

if TYPE_CHECKING:
    from chaos.simulation.node import SimNode


class Watcher(Protocol):
    """An observer of what nodes do."""

    def started(self, node: "SimNode") -> None:
        """A process has opened its disk, and begins."""

    def took(self, node: "SimNode", events: Sequence[Event]) -> None:
        """A turn is about to take these, or a node that can take no turn refuses what they ask."""

    def decided(self, node: "SimNode", turn: Turn) -> None:
        """What a turn wants made durable; none of it is."""

    def applied(self, node: "SimNode", turn: Turn) -> None:
        """What a turn applies has taken effect in the store, perhaps in memory only; nobody has been told."""

    def stored(self, node: "SimNode", turn: Turn) -> None:
        """What a turn decided is on disk; nobody has been told, nor will be if the process dies now."""

    def turned(self, node: "SimNode", turn: Turn) -> None:
        """A turn is completed: callers are answered, its frames leave next."""

    def said(self, node: "SimNode", frames: Sequence[Outgoing]) -> None:
        """Frames leave."""

    def stopped(self, node: "SimNode") -> None:
        """Its engine has ended in order; the disk is still open."""
