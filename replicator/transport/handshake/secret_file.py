"""The secret that all nodes of a cluster share: without TLS it alone tells them from other processes."""

import stat
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

from replicator.model.errors import StartupError

SECRET_CHARS_MIN: Final = 32


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file with a secret that all nodes of the cluster share, of SECRET_CHARS_MIN characters at least."""

    path: Path

    def read(self) -> bytes:
        """The key that it makes. Raises StartupError."""
        field = "cluster.secret_file"
        secret = self._content().strip()
        if len(secret) < SECRET_CHARS_MIN:
            raise StartupError(
                f"{field}: {self.path} holds {len(secret)} characters, and a secret has {SECRET_CHARS_MIN} at least: "
                f"make one by `head -c 32 /dev/urandom | base64 > {self.path}`, the same for all nodes"
            )
        if self.path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
            raise StartupError(f"{field}: {self.path} can be read or written by everybody: `chmod 600 {self.path}`")
        return blake2b(secret, digest_size=32, person=b"replicator peer").digest()

    def _content(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise StartupError(f"cluster.secret_file: {self.path} cannot be read: {error.strerror}") from None
