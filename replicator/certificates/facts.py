"""What a certificate says: whose it is, under which names, for which uses, from when until when."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

SHOWN_CHARS_MAX: Final = 160  # the longest name of a node has 143
Extension = TypeVar("Extension", bound=x509.ExtensionType)
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Facts:
    """One certificate. for_server, for_client: named in its extended key usage; without one, both are False."""

    subject: str
    dns_names: tuple[str, ...]
    for_server: bool
    for_client: bool
    not_before: datetime
    not_after: datetime

    def flaw_at(self, now: datetime) -> str | None:
        """Why it does not hold now, as the end of a sentence; None if it does."""
        if now > self.not_after:
            return f"has expired: it was valid until {shown_time(self.not_after)}"
        if now < self.not_before:
            return f"is not yet valid: it begins at {shown_time(self.not_before)}; a clock may be wrong"
        return None

    def __str__(self) -> str:
        return f"{shown(self.subject)} valid until {shown_time(self.not_after)}"


def facts_of(pem: bytes) -> Facts:
    """Of the first certificate. Raises ValueError for anything that is none, whatever the parser makes of it."""
    return all_facts(pem)[0]


def all_facts(pem: bytes) -> tuple[Facts, ...]:
    """Of all certificates, one at least. Raises ValueError, also if one of them is cut off."""
    try:
        found = tuple(_facts(certificate) for certificate in x509.load_pem_x509_certificates(pem))
    except Exception as error:  # the bytes may come from anywhere, and the parser has a dozen errors of its own
        raise ValueError(f"not PEM of a certificate: {error}") from None
    if len(found) != pem.count(_BEGIN):
        raise ValueError(f"not PEM of a certificate: {pem.count(_BEGIN)} begin, {len(found)} can be read")
    return found


def shown(text: str) -> str:
    """One line, escaped and cut: it may come from a certificate that nobody here has issued."""
    quoted = repr(text[: SHOWN_CHARS_MAX + 1])
    return quoted if len(quoted) <= SHOWN_CHARS_MAX else f"{quoted[:SHOWN_CHARS_MAX]}..."


def shown_time(moment: datetime) -> str:
    """In UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _facts(certificate: x509.Certificate) -> Facts:
    uses = _extension(certificate, x509.ExtendedKeyUsage) or ()
    names = _extension(certificate, x509.SubjectAlternativeName)
    return Facts(
        subject=certificate.subject.rfc4514_string(),
        dns_names=() if names is None else tuple(names.get_values_for_type(x509.DNSName)),
        for_server=ExtendedKeyUsageOID.SERVER_AUTH in uses,
        for_client=ExtendedKeyUsageOID.CLIENT_AUTH in uses,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _extension(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
