"""What one side of a TLS connection shows and trusts: read from files, and checked to fit together.

Everything is checked in the bytes that are then used, never in the files a second time: they may change in between.
"""

from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_certificate

from replicator.certificates.facts import Facts, all_facts


class UnusableFile(ValueError):
    """field: of the configuration, without its section. The text names the file, what is wrong, and the remedy."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"tls.{field}: {problem}")
        self.field = field


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of a node. peer_ca_file: whose certificates the peer port trusts, if not those of ca_file."""

    ca_file: Path
    cert_file: Path
    key_file: Path
    peer_ca_file: Path | None = None

    @property
    def all(self) -> tuple[Path, ...]:
        """Those that there are."""
        return tuple(file for file in (self.ca_file, self.cert_file, self.key_file, self.peer_ca_file) if file)


@dataclass(frozen=True, slots=True)
class Identity:
    """PEM. authority: one certificate or several; each is trusted. Without certificate and key: only trust."""

    authority: bytes
    certificate: bytes | None = None
    key: bytes | None = None


def read_file(field: str, file: Path) -> bytes:
    """Raises UnusableFile."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise UnusableFile(field, f"{file} cannot be read: {error.strerror}") from None


def read_authority(field: str, file: Path) -> tuple[bytes, tuple[Facts, ...]]:
    """All certificates of a bundle. Raises UnusableFile."""
    pem = read_file(field, file)
    try:
        return pem, all_facts(pem)
    except ValueError as error:
        raise UnusableFile(field, f"{file} holds no PEM certificate, or a truncated one ({error})") from None


def read_pair(cert_file: Path, key_file: Path) -> tuple[bytes, bytes, Facts]:
    """Certificate, with what leads to its authority, and key. Raises UnusableFile, also if they do not fit."""
    certificate, key = read_file("cert_file", cert_file), read_file("key_file", key_file)
    try:
        facts = all_facts(certificate)[0]
        secret = serialization.load_pem_private_key(key, password=None)
        if _raw(secret.public_key()) != _raw(load_pem_x509_certificate(certificate).public_key()):
            raise ValueError("key values mismatch")
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UnusableFile(
            "cert_file",
            f"{cert_file} and tls.key_file {key_file} are not a usable pair of PEM certificate and unencrypted key "
            f"({' '.join(str(error).split())}); issue them again",
        ) from None
    return certificate, key, facts


def _raw(public: object) -> bytes:
    raw: bytes = public.public_bytes(  # type: ignore[attr-defined]  # of every kind of key that a certificate can hold
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return raw
