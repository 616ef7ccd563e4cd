"""The peers that a node knows: the members of its group, and contacts by which it finds them. Values only."""

from dataclasses import dataclass, replace
from typing import Final

from replicator.core.admission import Admission, refusal_of
from replicator.model.ids import LogIndex, NodeId, Region, is_valid_name
from replicator.model.incarnation import Incarnation
from replicator.model.members import Membership
from replicator.transport.handshake.proof import Secrets
from replicator.transport.settings import PeerAddress, TransportSettings
from replicator.v1 import peer_pb2

NO_GUIDE: Final = Membership(LogIndex(0), ())


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a peer said of itself in its Hello. is_proven: it has shown that it holds our group's secret.

    codecs: numbers of peer_pb2.Codec that it can decompress, and others that this release does not know.
    """

    peer: NodeId
    directory_id: bytes
    membership_index: LogIndex
    founder: bytes
    incarnation: Incarnation
    is_proven: bool
    region: Region
    codecs: frozenset[int]

    @classmethod
    def of(cls, hello: peer_pb2.Hello, *, is_proven: bool) -> "Introduction":
        return cls(
            NodeId(hello.node_id),
            hello.directory_id,
            LogIndex(hello.membership_index),
            hello.founder,
            Incarnation(hello.incarnation, hello.run_id),
            is_proven=is_proven,
            region=Region(hello.region),
            codecs=frozenset(hello.codecs),
        )


@dataclass(frozen=True, slots=True)
class KnownPeers:
    """The node as its settings say, and the membership that it has applied.

    guide: a newer membership, as a node that joins was told: where to find those that its contacts do not include.
    """

    settings: TransportSettings
    membership: Membership
    guide: Membership = NO_GUIDE

    def others(self) -> tuple[PeerAddress, ...]:
        """All nodes to dial: the members, of the newer of both memberships, and the contacts that are none."""
        own_id = self.settings.node_id
        known = max(self.membership, self.guide, key=lambda each: each.index)
        members = tuple(
            PeerAddress(member.node_id, member.region, member.peer_address)
            for member in known.members
            if member.node_id != own_id
        )
        contacts = (contact for contact in self.settings.contacts if known.get(contact.node_id) is None)
        return tuple(self._as_set(peer) for peer in (*members, *contacts))

    def address_of(self, node_id: NodeId) -> PeerAddress | None:
        """Where it is dialled; None for a node that is not in here, and for the node itself."""
        return next((peer for peer in self.others() if peer.node_id == node_id), None)

    def _as_set(self, peer: PeerAddress) -> PeerAddress:
        """With what the own file says of its address: a route is the only way, another row a second one."""
        route = self.settings.routes.get(peer.node_id)
        if route is not None:
            return replace(peer, address=route)
        listed = self.settings.listed.get(peer.node_id, peer.address)
        return peer if listed == peer.address else replace(peer, second_address=listed)

    def is_member(self, node_id: str) -> bool:
        """By the membership."""
        return self.membership.get(node_id) is not None

    @property
    def secrets(self) -> Secrets:
        """What this node proves itself by, and others to it."""
        return Secrets(self.settings.cluster_secret, self.membership.secret)

    def refusal_of(self, said: Introduction) -> Admission | None:
        """None if the node may be linked. Without a membership, those are believed that the node was told of."""
        if not is_valid_name(said.peer):  # no membership could ever name it
            return Admission.NOT_A_MEMBER
        if not self.membership.members and self.address_of(said.peer) is not None:
            return None
        return refusal_of(
            self.membership,
            said.peer,
            said.directory_id,
            said.membership_index,
            said.founder,
            is_proven=said.is_proven,
        )
