"""gRPC credentials that follow what is in force.

A server asks at each handshake, so new files count for new connections, and connections that are up stay. A channel's
credentials are fixed: who dials makes them anew.
"""

from collections.abc import Callable

import grpc

from replicator.certificates.identity import Identity


def server_credentials(
    identity: Callable[[], Identity], *, require_client: bool, on_handshake: Callable[[], None] = lambda: None
) -> grpc.ServerCredentials:
    """identity: in force, with certificate and key; called on threads of gRPC, so it returns at once and never raises.

    require_client: turns away who shows no certificate of the authority. on_handshake: one begins; on threads of gRPC.
    """
    handed_over = identity()

    def changed() -> "grpc.ServerCertificateConfiguration | None":
        nonlocal handed_over
        on_handshake()
        found = identity()
        if found is handed_over:
            return None
        handed_over = found
        return _configuration(found)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(handed_over),
        changed,  # type: ignore[arg-type]  # None means no change, which the stubs do not know
        require_client_authentication=require_client,
    )


def channel_credentials(identity: Identity) -> grpc.ChannelCredentials:
    """For one channel."""
    return grpc.ssl_channel_credentials(identity.authority, identity.key, identity.certificate)


def _configuration(identity: Identity) -> "grpc.ServerCertificateConfiguration":
    assert identity.key is not None, "a server has a key"
    assert identity.certificate is not None, "and a certificate"
    return grpc.ssl_server_certificate_configuration(
        [(identity.key, identity.certificate)], root_certificates=identity.authority
    )
