"""Certificates between nodes: what this node shows when it dials, and whether the one of who came is that of a node.

The dialling side leaves the name to TLS itself; the accepting side is told by TLS only that the authority is trusted,
which it may be for API clients, too.
"""

from typing import Final

import grpc

from replicator.certificates.explaining import why_tls_failed
from replicator.certificates.grpc_credentials import channel_credentials
from replicator.certificates.identity import Identity
from replicator.certificates.judging import judge_certificate
from replicator.certificates.node import NodeCertificates
from replicator.model.ids import ClusterId, NodeId, node_certificate_name
from replicator.transport.handshake.verdicts import Refused, shown

_PEM: Final = "x509_pem_cert"


class PeerCredentials:
    """For all that this node dials. Each channel gets what is in force when it opens."""

    def __init__(self, certificates: NodeCertificates, cluster_id: ClusterId) -> None:
        self._certificates = certificates
        self._cluster_id = cluster_id
        self._made: tuple[Identity, grpc.ChannelCredentials] | None = None

    def now(self) -> grpc.ChannelCredentials:
        """For a channel that opens now."""
        identity = self._certificates.current.peer
        if self._made is None or self._made[0] is not identity:
            self._made = identity, channel_credentials(identity)
        return self._made[1]

    def name_of(self, peer: NodeId) -> str:
        """Which name the certificate of `peer` must carry."""
        return node_certificate_name(peer, self._cluster_id)

    def why_failed(self, peer: NodeId, details: str) -> str | None:
        """What is wrong with a certificate, if a channel to `peer` failed for that. details: of the failed call."""
        return why_tls_failed(details, name=self.name_of(peer), own_flaw=self._certificates.flaw(), has_own=True)


def judge_certificate_of(
    context: "grpc.aio.ServicerContext[bytes, bytes]", node_id: str, cluster_id: ClusterId
) -> Refused | None:
    """None if who came shows the certificate of the node that it claims to be. node_id: from the wire."""
    pem = next(iter(context.auth_context().get(_PEM, ())), b"")
    problem = judge_certificate(pem, node_id, cluster_id)
    if problem is None:
        return None
    return Refused("IDENTITY", f"node {shown(node_id)}, tls.cert_file: {problem}")
