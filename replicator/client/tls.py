"""How a client proves who it is, and whom it trusts."""

from dataclasses import dataclass
from pathlib import Path

import grpc

from replicator.model.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class ClientTls:
    """PEM files. cert_file and key_file: for mutual TLS, both or none.

    server_name: the name that every node's certificate carries, if the addresses dialled are not in it.
    """

    ca_file: str
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises InvalidArgument if a file is missing or unreadable."""
        if (self.cert_file is None) != (self.key_file is None):
            raise InvalidArgument("tls: cert_file and key_file come together", metadata={"field": "tls.cert_file"})
        return grpc.ssl_channel_credentials(
            root_certificates=_read("ca_file", self.ca_file),
            private_key=None if self.key_file is None else _read("key_file", self.key_file),
            certificate_chain=None if self.cert_file is None else _read("cert_file", self.cert_file),
        )


def _read(field: str, name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise InvalidArgument(
            f"tls.{field}: {name} cannot be read: {error.strerror}", metadata={"field": f"tls.{field}"}
        ) from error
