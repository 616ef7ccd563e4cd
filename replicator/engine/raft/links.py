"""Which links of this node are up, and what waits to leave on them.

Every link has an epoch: a frame of an earlier link is void (fault 12 of docs/raft.md), and what was said to a peer on
one link never leaves on another.
"""

from replicator.engine.events import Outgoing
from replicator.engine.raft.messages import encode
from replicator.model.ids import NodeId
from replicator.v1 import raft_pb2


class Links:
    """Links and outbox of one replica."""

    def __init__(self) -> None:
        self._epochs: dict[NodeId, int] = {}
        self._outbox: list[Outgoing] = []
        self._early: list[Outgoing] = []

    def up(self, peer: NodeId, epoch: int) -> None:
        """A link to `peer` is established."""
        self._epochs[peer] = epoch

    def down(self, peer: NodeId) -> None:
        """The link to `peer`, which was up, is gone."""
        del self._epochs[peer]

    def epoch(self, peer: NodeId) -> int | None:
        """Of the link to `peer`, None if it is down."""
        return self._epochs.get(peer)

    @property
    def epochs(self) -> dict[NodeId, int]:
        """Of all links that are up, by peer."""
        return dict(self._epochs)

    @property
    def peers(self) -> frozenset[NodeId]:
        """Those that can be reached."""
        return frozenset(self._epochs)

    def send(self, peer: NodeId, message: raft_pb2.RaftMessage) -> None:
        """Leaves once the turn is durable; lost if no link is up."""
        self.send_frame(peer, encode(message), early=False)

    def send_early(self, peer: NodeId, message: raft_pb2.RaftMessage) -> None:
        """Leaves before the turn is durable: it claims nothing that this node has only in memory."""
        self.send_frame(peer, encode(message), early=True)

    def send_for_caller(self, peer: NodeId, message: raft_pb2.RaftMessage) -> None:
        """As `send_early`; Raft's own messages may overtake it, and it them: what it says holds at any time."""
        epoch = self._epochs.get(peer)
        if epoch is not None:
            self._early.append(Outgoing(peer, epoch, encode(message), for_caller=True))

    def send_frame(self, peer: NodeId, payload: bytes, *, early: bool) -> None:
        """As `send_early` or `send`, of a message that is serialized already."""
        epoch = self._epochs.get(peer)
        if epoch is not None:
            (self._early if early else self._outbox).append(Outgoing(peer, epoch, payload))

    def take(self) -> tuple[Outgoing, ...]:
        """What has been said with `send` since the last take."""
        frames, self._outbox = tuple(self._outbox), []
        return frames

    def take_early(self) -> tuple[Outgoing, ...]:
        """What has been said with `send_early` since the last take."""
        frames, self._early = tuple(self._early), []
        return frames
