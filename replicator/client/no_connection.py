"""Explains to a caller why no connection came about, from the text of gRPC's error, and what to do about it."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from replicator.certificates.explaining import why_tls_failed
from replicator.certificates.facts import facts_of
from replicator.certificates.identity import Identity

# A proxy meant for the web is not asked. Only gRPC reads this variable, so to set it is to ask for a proxy.
PROXY_VARIABLE: Final = "grpc_proxy"
SILENT: Final = "no answer in time; a firewall may drop packets, or the machine or the process hangs"
_TLS_OR_ANOTHER: Final = (
    "the connection was closed without an answer: the port may speak TLS only (give ca_file, or --cacert), or is no "
    "API port"
)
# What gRPC 1.85 writes; tests/integration/test_failed_connections.py holds it to that. The first that fits counts.
MEANING: Final[Mapping[str, str]] = {
    "Connection refused": "connection refused: nothing listens on that port; is the node up?",
    "lookup error": "the name cannot be resolved; check its spelling, and DNS on this machine",
    "DNS resolution failed": "the name cannot be resolved; check its spelling, and DNS on this machine",
    "No route to host": "no route to that host; check the address and the network",
    "Network is unreachable": "the network is unreachable; check the address and the network",
    "HTTP/2": "what listens there does not speak gRPC; is it the API port, and not the admin port or a proxy?",
    "http2 header with status": "what answers there is no node but an HTTP server or a proxy",
    "timed out": SILENT,
    "Deadline Exceeded": SILENT,
    "Socket closed": _TLS_OR_ANOTHER,
    "Connection reset": _TLS_OR_ANOTHER,
    "Broken pipe": _TLS_OR_ANOTHER,
}
_DETAILS_CHARS_MAX: Final = 200


def why_no_connection(details: str, name: str, identity: Identity | None) -> str:
    """details: of a call that failed for want of a connection. name: under which a certificate is expected.

    identity: this client's, None without TLS.
    """
    certificate = None if identity is None else _why_tls(details, name, identity)
    if certificate is not None:
        return certificate
    known = next((meaning for said, meaning in MEANING.items() if said in details), None)
    through = f"through the proxy of {PROXY_VARIABLE}: " if PROXY_VARIABLE in os.environ else ""
    return through + (known or f"gRPC says: {details[:_DETAILS_CHARS_MAX]!a}")


def _why_tls(details: str, name: str, identity: Identity) -> str | None:
    own_flaw = None
    if identity.certificate is not None:
        flaw = facts_of(identity.certificate).flaw_at(datetime.now(UTC))
        own_flaw = None if flaw is None else f"the certificate of tls.cert_file {flaw}; renew it"
    return why_tls_failed(details, name=name, own_flaw=own_flaw, has_own=identity.certificate is not None)
