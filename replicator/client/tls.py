"""How a client proves who it is, and whom it trusts."""

from dataclasses import dataclass
from pathlib import Path

import grpc

from replicator.certificates.grpc_credentials import channel_credentials
from replicator.certificates.identity import Identity, UnusableFile, read_authority, read_pair
from replicator.certificates.kept import KeptFiles
from replicator.model.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class ClientTls:
    """PEM files. cert_file and key_file: for mutual TLS, both or none. A client follows them while they change.

    server_name: the name that every node's certificate carries, if the addresses dialled are not in it.
    """

    ca_file: str
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Of the files as they are now. Raises InvalidArgument if one is missing or of no use."""
        return channel_credentials(self.kept().current)

    def kept(self) -> KeptFiles[Identity]:
        """What the files hold, followed with each look at it. Raises InvalidArgument as above."""
        if (self.cert_file is None) != (self.key_file is None):
            raise InvalidArgument("tls: cert_file and key_file come together", metadata={"field": "tls.cert_file"})
        files = [Path(file) for file in (self.ca_file, self.cert_file, self.key_file) if file is not None]
        try:
            return KeptFiles(files, self._read)
        except UnusableFile as error:
            raise InvalidArgument(str(error), metadata={"field": f"tls.{error.field}"}) from error

    def _read(self) -> Identity:
        authority, _ = read_authority("ca_file", Path(self.ca_file))
        if self.cert_file is None or self.key_file is None:
            return Identity(authority)
        certificate, key, _ = read_pair(Path(self.cert_file), Path(self.key_file))
        return Identity(authority, certificate, key)
