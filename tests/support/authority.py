"""Certificates for tests: an authority, and what it issues, with any name, use and validity."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from replicator.certificates import NodeCertificates, TlsFiles
from replicator.client import ClientTls
from replicator.model.ids import ClusterId, NodeId, node_certificate_name

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """Signs whatever a test asks for. pem: what the others trust."""

    def __init__(self, name: str = "authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        built = (
            _builder(self._name, self._name, self._key.public_key(), now - 400 * DAY, now + 400 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = built.public_bytes(serialization.Encoding.PEM)

    def node(
        self, node_id: str, cluster_id: str = "shop", *, begins: timedelta = -DAY, ends: timedelta = DAY
    ) -> Issued:
        """The certificate of a node, good for clients that dial 127.0.0.1. begins, ends: from now."""
        return self.issue(node_id, node_certificate_name(node_id, cluster_id), begins=begins, ends=ends)

    def client(self, name: str, *, begins: timedelta = -DAY, ends: timedelta = DAY) -> Issued:
        """The certificate of an API client: no name but its own, for client use only."""
        return self.issue(name, for_server=False, begins=begins, ends=ends)

    def issue(
        self,
        subject: str,
        *dns_names: str,
        for_server: bool = True,
        for_client: bool = True,
        begins: timedelta = -DAY,
        ends: timedelta = DAY,
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        names = [*(x509.DNSName(name) for name in dns_names), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        uses = [
            *([ExtendedKeyUsageOID.SERVER_AUTH] if for_server else []),
            *([ExtendedKeyUsageOID.CLIENT_AUTH] if for_client else []),
        ]
        owner = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        builder = _builder(owner, self._name, key.public_key(), now + begins, now + ends)
        if for_server:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if uses:
            builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        pem = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Issued(pem, secret)


def put(file: Path, content: bytes) -> Path:
    """Puts a file in place as operators are told to: whole, or not at all."""
    fresh = file.with_suffix(".new")
    fresh.write_bytes(content)
    return fresh.replace(file)


def put_pair(folder: Path, issued: Issued) -> None:
    """As cert.pem and key.pem."""
    put(folder / "key.pem", issued.key)
    put(folder / "cert.pem", issued.certificate)


def tls_files(folder: Path, authority: bytes, issued: Issued) -> TlsFiles:
    """In a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    put(folder / "ca.pem", authority)
    put_pair(folder, issued)
    return TlsFiles(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")


def client_tls(folder: Path, authority: bytes, issued: Issued) -> ClientTls:
    """In a folder of its own."""
    files = tls_files(folder, authority, issued)
    return ClientTls(str(files.ca_file), str(files.cert_file), str(files.key_file))


def opened(files: TlsFiles, node_id: str, cluster_id: str = "shop") -> NodeCertificates:
    """What that node makes of them."""
    return NodeCertificates(files, NodeId(node_id), ClusterId(cluster_id))


def _builder(
    owner: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(owner)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
