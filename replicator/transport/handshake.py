"""Judge a Hello. Pure: messages in, a verdict out; both sides use the same rules, so both can name the fault.

Text that came from the wire is shown quoted and cut, so that a peer can neither forge nor flood log lines.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from replicator.model.ids import NodeId
from replicator.transport.ports import PROTOCOL_VERSION, PROTOCOL_VERSION_MIN
from replicator.transport.settings import TransportSettings
from replicator.v1 import peer_pb2

SHOWN_CHARS_MAX: Final = 80
MESSAGE_CHARS_MAX: Final = 400


@dataclass(frozen=True, slots=True)
class Refused:
    """reason: for machines, as listed in peer.proto. message: both values, and the remedy."""

    reason: str
    message: str

    def to_message(self) -> peer_pb2.LinkMessage:
        return peer_pb2.LinkMessage(refusal=peer_pb2.Refusal(reason=self.reason, message=self.message))

    @classmethod
    def from_message(cls, refusal: peer_pb2.Refusal) -> "Refused":
        """What the other side sent, made safe to log."""
        return cls(shown(refusal.reason).strip("'\""), printable(refusal.message))


def shown(text: str) -> str:
    """Quoted and escaped; cut, with dots, at SHOWN_CHARS_MAX."""
    quoted = repr(text[: SHOWN_CHARS_MAX + 1])
    return quoted if len(quoted) <= SHOWN_CHARS_MAX else f"{quoted[:SHOWN_CHARS_MAX]}..."


def printable(text: str) -> str:
    """One line, cut at MESSAGE_CHARS_MAX."""
    return "".join(c if c.isprintable() else "?" for c in text[:MESSAGE_CHARS_MAX])


def hello_to(settings: TransportSettings, peer: NodeId) -> peer_pb2.LinkMessage:
    """What this node says first."""
    return peer_pb2.LinkMessage(
        hello=peer_pb2.Hello(
            cluster_id=settings.cluster_id,
            node_id=settings.node_id,
            peer_id=peer,
            protocol_version=PROTOCOL_VERSION,
            protocol_version_min=PROTOCOL_VERSION_MIN,
            region=settings.region,
        )
    )


def judge_dialler(settings: TransportSettings, hello: peer_pb2.Hello) -> Refused | None:
    """None if the node that dialled us may stay. The order matters: the most general contradiction first."""
    return (
        _judge_version(hello)
        or _judge_cluster(settings, hello)
        or _judge_addressee(settings, hello)
        or _judge_member(settings, hello)
        or _judge_direction(settings, hello)
    )


def judge_fetcher(settings: TransportSettings, hello: peer_pb2.Hello) -> Refused | None:
    """None if the node may fetch snapshots from us: any peer may, whichever of the two dials the link."""
    return (
        _judge_version(hello)
        or _judge_cluster(settings, hello)
        or _judge_addressee(settings, hello)
        or _judge_member(settings, hello)
    )


def judge_acceptor(settings: TransportSettings, hello: peer_pb2.Hello, dialled: NodeId) -> Refused | None:
    """None if the node that answered is the one we dialled."""
    return (
        _judge_version(hello)
        or _judge_cluster(settings, hello)
        or _judge_addressee(settings, hello)
        or _judge_acceptor_id(settings, hello, dialled)
    )


def judge_identity(hello: peer_pb2.Hello, certified_names: Collection[str]) -> Refused | None:
    """None if the certificate of the other side names the node it claims to be."""
    if hello.node_id in certified_names:
        return None
    names = ", ".join(shown(name) for name in sorted(certified_names)[:5]) or "no name"
    return Refused(
        "IDENTITY",
        f"node {shown(hello.node_id)} came with a certificate for {names}: "
        "issue it a certificate with its node id as a DNS name (SAN), and set tls.cert_file",
    )


def region_contradiction(settings: TransportSettings, hello: peer_pb2.Hello) -> str | None:
    """A line for the log if the peer's own region differs from the one configured for it. Not a reason to refuse."""
    configured = next((peer.region for peer in settings.peers if peer.node_id == hello.node_id), None)
    if configured is None or configured == hello.region:
        return None
    return (
        f"node {shown(hello.node_id)} says it is in region {shown(hello.region)}, cluster.members here says "
        f"{shown(configured)}: make cluster.members the same on every node"
    )


def _judge_version(hello: peer_pb2.Hello) -> Refused | None:
    too_new = hello.protocol_version_min > PROTOCOL_VERSION
    too_old = hello.protocol_version < PROTOCOL_VERSION_MIN
    if not too_new and not too_old:
        return None
    return Refused(
        "PROTOCOL_VERSION",
        f"node {shown(hello.node_id)} speaks peer protocol {hello.protocol_version_min} to {hello.protocol_version}, "
        f"the other side {PROTOCOL_VERSION_MIN} to {PROTOCOL_VERSION}: "
        "upgrade the older one, one release at a time",
    )


def _judge_cluster(settings: TransportSettings, hello: peer_pb2.Hello) -> Refused | None:
    if hello.cluster_id == settings.cluster_id:
        return None
    return Refused(
        "CLUSTER_MISMATCH",
        f"node {shown(hello.node_id)} belongs to cluster {shown(hello.cluster_id)}, "
        f"node {shown(settings.node_id)} to {shown(settings.cluster_id)}: correct cluster.id or the peer address",
    )


def _judge_addressee(settings: TransportSettings, hello: peer_pb2.Hello) -> Refused | None:
    if hello.peer_id == settings.node_id:
        return None
    return Refused(
        "WRONG_NODE",
        f"node {shown(hello.node_id)} asked for node {shown(hello.peer_id)} and reached {shown(settings.node_id)}: "
        "correct the peer addresses in cluster.members",
    )


def _judge_member(settings: TransportSettings, hello: peer_pb2.Hello) -> Refused | None:
    if hello.node_id == settings.node_id:
        return Refused(
            "DUPLICATE",
            f"node {shown(hello.node_id)} was dialled by a process with the same node.id: give each node its own",
        )
    if all(hello.node_id != peer.node_id for peer in settings.peers):
        known = ", ".join(shown(peer.node_id) for peer in settings.peers[:9]) or "nobody"
        return Refused(
            "UNKNOWN_NODE",
            f"node {shown(hello.node_id)} is not in cluster.members of node {shown(settings.node_id)}, "
            f"which knows {known}: make cluster.members the same on every node",
        )
    return None


def _judge_direction(settings: TransportSettings, hello: peer_pb2.Hello) -> Refused | None:
    if hello.node_id < settings.node_id:
        return Refused(
            "WRONG_NODE",
            f"node {shown(hello.node_id)} dialled {shown(settings.node_id)}, but the greater id dials: "
            "it does not follow this protocol; check what runs there",
        )
    return None


def _judge_acceptor_id(settings: TransportSettings, hello: peer_pb2.Hello, dialled: NodeId) -> Refused | None:
    if hello.node_id == dialled:
        return None
    return Refused(
        "WRONG_NODE",
        f"node {shown(settings.node_id)} dialled {shown(dialled)} and was answered by {shown(hello.node_id)}: "
        "correct the peer addresses in cluster.members",
    )
