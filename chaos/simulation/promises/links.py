"""Which links are current, as a node will know it at each event of a turn."""

from collections.abc import Sequence

from chaos.simulation.node import SimNode
from replicator.engine.events import Event, Frame, LinkDown, LinkUp
from replicator.model.ids import NodeId


class Links:
    """The link epochs of all nodes."""

    def __init__(self) -> None:
        self._epochs: dict[tuple[NodeId, int, NodeId], int] = {}

    def current(self, node: SimNode, events: Sequence[Event]) -> list[Frame]:
        """The frames among `events` that arrived on the link that was current then."""
        frames = []
        for event in events:
            place = (node.node_id, node.incarnation, event.peer)
            match event:
                case LinkUp(_, epoch):
                    self._epochs[place] = epoch
                case LinkDown(_, epoch):
                    if self._epochs.get(place) == epoch:
                        del self._epochs[place]
                case Frame(_, epoch, _):
                    if self._epochs.get(place) == epoch:
                        frames.append(event)
        return frames
