"""Judge what a peer says in a handshake. Pure: messages in, a verdict out; both sides use the same rules.

Text that came from the wire is shown quoted and cut, so that a peer can neither forge nor flood log lines.
"""

from dataclasses import dataclass
from typing import Final

from replicator.core.admission import Admission
from replicator.model.ids import NodeId
from replicator.model.incarnation import RUN_ID_BYTES, Incarnation, KnownIncarnation
from replicator.model.limits import INDEX_MAX
from replicator.model.members import DIRECTORY_ID_BYTES
from replicator.transport.compression import taken_codecs
from replicator.transport.handshake.known_peers import Introduction, KnownPeers
from replicator.transport.handshake.proof import NONCE_BYTES
from replicator.transport.ports import PROTOCOL_VERSION, PROTOCOL_VERSION_MIN
from replicator.v1 import peer_pb2

SHOWN_CHARS_MAX: Final = 80
MESSAGE_CHARS_MAX: Final = 480
# A node that meets one of these must never act again.
SUPERSEDING: Final = frozenset({"OLD_INCARNATION", "COPIED_DIRECTORY", "LOST_DATA"})
_ADDRESS_REMEDY: Final = "correct its peer address, in the file of the node that dialled or in the group"


@dataclass(frozen=True, slots=True)
class Refused:
    """reason: for machines, as listed in peer.proto. message: both values, and the remedy.

    founder: of the group that refuses the other side; empty if that is not the reason, or if there is no group.
    is_proven: of what was received: it comes from a node of this cluster, so it may be acted upon.
    is_by_group: and from one of our group, if we belong to one: nobody else can make us give up our data.
    """

    reason: str
    message: str
    founder: bytes = b""
    is_proven: bool = True
    is_by_group: bool = True

    def to_message(self) -> peer_pb2.Refusal:
        return peer_pb2.Refusal(reason=self.reason, message=self.message, founder=self.founder)

    @classmethod
    def from_message(cls, refusal: peer_pb2.Refusal, *, is_proven: bool, is_by_group: bool) -> "Refused":
        """What the other side sent, made safe to log."""
        reason = shown(refusal.reason).strip("'\"")
        return cls(reason, printable(refusal.message), refusal.founder, is_proven, is_by_group)


def shown(text: str) -> str:
    """Quoted and escaped; cut, with dots, at SHOWN_CHARS_MAX."""
    quoted = repr(text[: SHOWN_CHARS_MAX + 1])
    return quoted if len(quoted) <= SHOWN_CHARS_MAX else f"{quoted[:SHOWN_CHARS_MAX]}..."


def printable(text: str) -> str:
    """One line, cut at MESSAGE_CHARS_MAX."""
    return "".join(c if c.isprintable() else "?" for c in text[:MESSAGE_CHARS_MAX])


def hello_to(peers: KnownPeers, peer: NodeId, nonce: bytes) -> peer_pb2.Hello:
    """What this node says first. nonce: random, of this handshake."""
    settings = peers.settings
    return peer_pb2.Hello(
        cluster_id=settings.cluster_id,
        node_id=settings.node_id,
        peer_id=peer,
        protocol_version=PROTOCOL_VERSION,
        protocol_version_min=PROTOCOL_VERSION_MIN,
        region=settings.region,
        directory_id=settings.directory_id,
        membership_index=peers.membership.index,
        founder=peers.membership.founder,
        incarnation=settings.incarnation.number,
        run_id=settings.incarnation.run_id,
        nonce=nonce,
        codecs=taken_codecs(settings),
    )


def judge_caller(peers: KnownPeers, hello: peer_pb2.Hello) -> Refused | None:
    """None if the caller speaks to the right node of the right cluster. Who it is, is judged next, then its claim."""
    return _judge_group(peers, hello) or _judge_namesake(peers, hello)


def judge_acceptor(peers: KnownPeers, hello: peer_pb2.Hello, dialled: NodeId) -> Refused | None:
    """None if the node that answered says it is the one we dialled, and may be linked if that is proven."""
    return _judge_group(peers, hello) or _judge_acceptor_id(peers, hello, dialled) or judge_claim(peers, hello)


def judge_admission(peers: KnownPeers, said: Introduction) -> Refused | None:
    """None if the node may be linked, by what it has proven."""
    refusal = peers.refusal_of(said)
    if refusal is None:
        return None
    return Refused(refusal.value, admission_message(peers, said, refusal), peers.membership.founder)


def not_proven(peers: KnownPeers, hello: peer_pb2.Hello) -> Refused:
    """The other side does not hold the secret of the cluster."""
    return Refused(
        "NOT_PROVEN",
        f"node {shown(hello.node_id)} does not hold the secret that node {shown(peers.settings.node_id)} has in "
        "cluster.secret_file: give all nodes of the cluster the same file",
    )


def not_of_group(peers: KnownPeers, hello: peer_pb2.Hello) -> Refused:
    """The other side says that it belongs to our group, and does not hold its secret."""
    return Refused(
        "NOT_PROVEN",
        f"node {shown(hello.node_id)} says that it belongs to the group of node {shown(peers.settings.node_id)} and "
        "does not hold the group's own secret: another process uses its name and its certificate or secret file",
    )


def older_run(said: Introduction, known: KnownIncarnation) -> Refused:
    """Its data directory was counted no further than a run that was met already."""
    return Refused(
        "OLD_INCARNATION",
        f"node {shown(said.peer)} comes with run {said.incarnation} of its data directory, and run {known.incarnation} "
        "was met: an older copy of the directory was put back, or a copy of it has run elsewhere. It has forgotten "
        "votes and acknowledgements and must not act: see docs/operating.md, copies of a data directory",
    )


def lost_data(said: Introduction, why: str) -> Refused:
    """Its data directory holds less than it acknowledged. why: what is missing."""
    return Refused(
        "LOST_DATA",
        f"node {shown(said.peer)} no longer holds what it acknowledged: {printable(why)}. An older copy of its data "
        "directory was put back, or its disk has lost writes; it has forgotten votes, too, and must not act: see "
        "docs/operating.md, a lost or damaged disk",
    )


def copied_directory(said: Introduction, running: Incarnation) -> Refused:
    """Another process runs with the same directory."""
    return Refused(
        "COPIED_DIRECTORY",
        f"node {shown(said.peer)} comes with run {said.incarnation} of its data directory, while run {running} is "
        "connected and answers: this is a copy of that node's directory, and must not act beside it: see "
        "docs/operating.md, copies of a data directory",
    )


def region_contradiction(peers: KnownPeers, hello: peer_pb2.Hello) -> str | None:
    """A line for the log if the peer's own region differs from the one that we know. Not a reason to refuse."""
    known = peers.address_of(NodeId(hello.node_id))
    if known is None or known.region == hello.region:
        return None
    return (
        f"node {shown(hello.node_id)} says it is in region {shown(hello.region)}, {_source(peers)} says "
        f"{shown(known.region)}: correct node.region there, or what the group knows of it"
    )


def admission_message(peers: KnownPeers, said: Introduction, refusal: Admission) -> str:
    """Why not, and what the operator is to do."""
    who = f"node {shown(said.peer)}"
    if said.membership_index > peers.membership.index and not said.is_proven and refusal is not Admission.OTHER_GROUP:
        who += f", which claims to know membership {said.membership_index} and does not prove that it is of this group,"
    match refusal:
        case Admission.OTHER_GROUP:
            return (
                f"{who} belongs to another group of cluster {shown(peers.settings.cluster_id)} than node "
                f"{shown(peers.settings.node_id)}, which was founded apart from it, and shares nothing with it: see "
                "docs/operating.md, two groups of one name"
            )
        case Admission.NOT_A_MEMBER if peers.membership.index == 0:
            known = ", ".join(shown(peer.node_id) for peer in peers.others()[:9]) or "nobody"
            return (
                f"{who} is not in {_source(peers)} of node {shown(peers.settings.node_id)}, which knows {known}: "
                "make cluster.members the same on every node, or start it with `replicator serve --join`"
            )
        case Admission.NOT_A_MEMBER:
            return (
                f"{who} is not a member of cluster {shown(peers.settings.cluster_id)} as of {_source(peers)}: "
                "start it with an empty data directory and `replicator serve --join`, or, if it was removed, stop it"
            )
        case Admission.OTHER_DIRECTORY:
            return (
                f"{who} comes with another data directory than the one that the group knows under this name: it has "
                "lost its disk, and with it the votes it gave; stop it, move what is in its data directory away, and "
                "let it join again with `replicator serve --join` (docs/operating.md, a lost or damaged disk)"
            )


def _source(peers: KnownPeers) -> str:
    index = peers.membership.index
    return "cluster.members" if index == 0 else f"membership {index}"


def _judge_group(peers: KnownPeers, hello: peer_pb2.Hello) -> Refused | None:
    return _judge_version(hello) or _judge_cluster(peers, hello) or _judge_addressee(peers, hello)


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


def _judge_cluster(peers: KnownPeers, hello: peer_pb2.Hello) -> Refused | None:
    settings = peers.settings
    if hello.cluster_id == settings.cluster_id:
        return None
    return Refused(
        "CLUSTER_MISMATCH",
        f"node {shown(hello.node_id)} belongs to cluster {shown(hello.cluster_id)}, "
        f"node {shown(settings.node_id)} to {shown(settings.cluster_id)}: correct cluster.id or the peer address",
    )


def _judge_addressee(peers: KnownPeers, hello: peer_pb2.Hello) -> Refused | None:
    if hello.peer_id == peers.settings.node_id:
        return None
    return Refused(
        "WRONG_NODE",
        f"node {shown(hello.node_id)} asked for node {shown(hello.peer_id)} and reached "
        f"{shown(peers.settings.node_id)}: {_ADDRESS_REMEDY}",
    )


def _judge_namesake(peers: KnownPeers, hello: peer_pb2.Hello) -> Refused | None:
    if hello.node_id != peers.settings.node_id:
        return None
    return Refused(
        "DUPLICATE",
        f"node {shown(hello.node_id)} was dialled by a process with the same node.id: give each node its own",
    )


def _judge_acceptor_id(peers: KnownPeers, hello: peer_pb2.Hello, dialled: NodeId) -> Refused | None:
    if hello.node_id == dialled:
        return None
    return Refused(
        "WRONG_NODE",
        f"node {shown(peers.settings.node_id)} dialled {shown(dialled)} and was answered by {shown(hello.node_id)}: "
        f"{_ADDRESS_REMEDY}",
    )


def judge_claim(peers: KnownPeers, hello: peer_pb2.Hello) -> Refused | None:
    """None if the node may be linked, provided that it proves all that it says."""
    for field, size_bytes in (("directory_id", DIRECTORY_ID_BYTES), ("run_id", RUN_ID_BYTES), ("nonce", NONCE_BYTES)):
        if len(getattr(hello, field)) != size_bytes:
            return Refused(
                "PROTOCOL_VERSION",
                f"node {shown(hello.node_id)} sends a {field} of {len(getattr(hello, field))} bytes, it must have "
                f"{size_bytes}: upgrade it",
            )
    if hello.incarnation < 1 or hello.membership_index > INDEX_MAX or hello.incarnation > INDEX_MAX:
        return Refused(
            "PROTOCOL_VERSION",
            f"node {shown(hello.node_id)} sends membership_index {hello.membership_index} and incarnation "
            f"{hello.incarnation}, out of range (1 to {INDEX_MAX}): it runs a broken release",
        )
    return judge_admission(peers, Introduction.of(hello, is_proven=True))
