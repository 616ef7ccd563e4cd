"""What has happened, as far as several promises need to know it. Sees every node at once, believes none."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from chaos.simulation.node import SimNode
from replicator.engine.events import Frame, Outgoing, Turn
from replicator.machine.codec import is_group_change
from replicator.machine.group_entries import decode_group_change, membership_of
from replicator.model.ids import NodeId
from replicator.model.members import Membership
from replicator.v1 import raft_pb2

WriteKey = tuple[bytes, int]  # client id, sequence


class Standing(NamedTuple):
    """Where a node stands at the end of a turn, in its own opinion. applied_before: at its start."""

    is_leader: bool
    term: int
    commit_index: int
    applied_index: int
    applied_before: int


@dataclass(slots=True)
class Records:
    """nodes: those that exist now; departed: those that never run again, with their disks. leaders: who led a term.

    committed: the term of each entry known to be committed. memberships: as they were applied, ascending. commit_max:
    by the term in which it was first seen, the highest of the committed. commit_max_at_election: by term, what earlier
    terms were known to have committed when its leader was first seen.
    """

    nodes: Sequence[SimNode] = ()
    departed: list[SimNode] = field(default_factory=list)
    memberships: list[Membership] = field(default_factory=list)
    leaders: dict[int, NodeId] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)
    commit_max: dict[int, int] = field(default_factory=dict)
    commit_max_at_election: dict[int, int] = field(default_factory=dict)

    def node(self, name: NodeId) -> SimNode | None:
        """By name; None if it has left."""
        return next((node for node in self.nodes if node.node_id == name), None)

    def holders(self, index: int, term: int) -> frozenset[NodeId]:
        """Who has, or had when it was lost, that entry on disk: a lost disk is like one whose node never comes back."""
        return frozenset(node.node_id for node in (*self.nodes, *self.departed) if node.disk.holds(index, term))

    def committed_before(self, term: int) -> int:
        """The highest index seen to be committed in an earlier term than this."""
        return max((index for seen, index in self.commit_max.items() if seen < term), default=0)

    def voters(self, applied_index: int) -> frozenset[NodeId]:
        """Who votes, as a node sees it that has applied so much: the only place where majorities come from."""
        return next(known.voters for known in reversed(self.memberships) if known.index <= applied_index)

    @property
    def membership(self) -> Membership:
        """The newest that anybody has applied."""
        return self.memberships[-1]

    def applied(self, turn: Turn) -> None:
        """Some node has applied these entries: the first one that has tells who belongs to the group from there on."""
        for entry in turn.write.apply:
            if is_group_change(entry.payload) and entry.index > self.membership.index:
                change = decode_group_change(entry.payload)
                if change is not None and change.HasField("membership"):
                    change.membership.index = entry.index
                    self.memberships.append(membership_of(change.membership))

    def is_majority(self, names: Collection[NodeId], applied_index: int) -> bool:
        """Are these more than half of the voters, as a node sees it that has applied so much?"""
        voters = self.voters(applied_index)
        return 2 * len(voters.intersection(names)) > len(voters)


class Promise:
    """One promise. The judge calls the hooks that a promise overrides; a hook raises Violation.

    heard, said: only messages of the kinds in `listens` and `watches`, by their names in raft.proto.
    """

    listens: frozenset[str] = frozenset()
    watches: frozenset[str] = frozenset()

    def __init__(self, records: Records) -> None:
        self.records = records

    def replaced(self, node: SimNode) -> None:
        """The disk of the node that had this name is lost; `node` begins with an empty one."""

    def started(self, node: SimNode) -> None:
        """A process has opened the disk of `node`, and begins."""

    def heard(self, node: SimNode, frame: Frame, message: raft_pb2.RaftMessage) -> None:
        """A turn of `node` is about to take this, which arrived on a current link."""

    def decided(self, node: SimNode, turn: Turn) -> None:
        """A turn of `node` wants this made durable; none of it is."""

    def applied(self, node: SimNode, turn: Turn) -> None:
        """What a turn of `node` applies has taken effect in its store, perhaps in memory only; nobody has been told."""

    def stored(self, node: SimNode, turn: Turn) -> None:
        """What a turn of `node` decided is on its disk; nobody has been told."""

    def turned(self, node: SimNode, standing: Standing) -> None:
        """A turn of `node` is completed; its frames leave next."""

    def stopped(self, node: SimNode) -> None:
        """The engine of `node` has ended in order; the disk is still open."""

    def said(self, node: SimNode, frame: Outgoing, message: raft_pb2.RaftMessage) -> None:
        """Leaves `node` now, in `frame`."""

    def ended(self) -> None:
        """The cluster has healed and had its time."""


def write_name(client: bytes, sequence: int) -> bytes:
    """Each simulated write has a key of its own, so that its `version` counts its applications."""
    return b"%s/%08d" % (client.hex().encode(), sequence)
