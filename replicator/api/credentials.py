"""Server credentials from files, each failure naming the field of the file."""

from pathlib import Path

import grpc

from replicator.config.schema import TlsSection
from replicator.model.errors import StartupError


def server_credentials(tls: TlsSection) -> grpc.ServerCredentials:
    """Raises StartupError if a file cannot be read."""
    certificate, key, authority = (_read(field, getattr(tls, field)) for field in ("cert_file", "key_file", "ca_file"))
    return grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=authority, require_client_auth=tls.require_client_certificate
    )


def _read(field: str, name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise StartupError(f"tls.{field}: {name} cannot be read: {error.strerror}") from None
