"""What has happened, as far as several promises need to know it. Sees every node at once, believes none."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from chaos.simulation.node import SimNode
from replicator.engine.replica import Event, Outgoing, Turn
from replicator.model.ids import NodeId
from replicator.v1 import raft_pb2

WriteKey = tuple[bytes, int]  # client id, sequence


@dataclass(slots=True)
class Records:
    """nodes: all of them. leaders: who led a term. committed: the term of each entry known to be committed.

    commit_max: by the term in which it was first seen, the highest of these.
    commit_max_at_election: by term, what earlier terms were known to have committed when its leader was first seen.
    """

    nodes: Sequence[SimNode] = ()
    leaders: dict[int, NodeId] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)
    commit_max: dict[int, int] = field(default_factory=dict)
    commit_max_at_election: dict[int, int] = field(default_factory=dict)

    def node(self, name: NodeId) -> SimNode:
        """By name."""
        return next(node for node in self.nodes if node.node_id == name)

    def committed_before(self, term: int) -> int:
        """The highest index seen to be committed in an earlier term than this."""
        return max((index for seen, index in self.commit_max.items() if seen < term), default=0)

    def is_majority(self, count: int) -> bool:
        """Of all nodes."""
        return 2 * count > len(self.nodes)


class Promise:
    """One promise. The world calls the hooks that a promise overrides; a hook raises Violation."""

    def __init__(self, records: Records) -> None:
        self.records = records

    def took(self, node: SimNode, events: Sequence[Event]) -> None:
        """A turn of `node` is about to take these."""

    def stored(self, node: SimNode, turn: Turn) -> None:
        """What a turn of `node` decided is on its disk; nobody has been told."""

    def turned(self, node: SimNode) -> None:
        """A turn of `node` is completed; its frames leave next."""

    def said(self, node: SimNode, frame: Outgoing, message: raft_pb2.RaftMessage) -> None:
        """A small message (a vote, an answer) leaves `node`; `frame` is what it leaves in."""

    def ended(self) -> None:
        """The cluster has healed and had its time."""


def write_name(client: bytes, sequence: int) -> bytes:
    """Each simulated write has a key of its own, so that its `version` counts its applications."""
    return b"%s/%08d" % (client.hex().encode(), sequence)
