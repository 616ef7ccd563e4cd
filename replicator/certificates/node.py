"""The certificates of one node, as in force now: what its ports show and trust, and until when."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from replicator.certificates.facts import Facts, shown_time
from replicator.certificates.identity import Identity, TlsFiles, UnusableFile, read_authority, read_pair
from replicator.certificates.judging import judge_facts
from replicator.certificates.kept import KeptFiles
from replicator.model.errors import StartupError
from replicator.model.ids import ClusterId, NodeId

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InForce:
    """api, peer: of the two gRPC ports; they differ in whom they trust. facts: certificates by what holds them."""

    api: Identity
    peer: Identity
    facts: tuple[tuple[str, Facts], ...]


def utc_now() -> datetime:
    """The wall clock, which certificates go by."""
    return datetime.now(UTC)


class NodeCertificates:
    """One per node, shared by its ports. `current` may be read from any thread."""

    def __init__(
        self, files: TlsFiles, node_id: NodeId, cluster_id: ClusterId, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        """Reads the files. Raises StartupError, one line that names the field.

        A certificate that has expired is taken at the start, since there is no better one: the node says so again and
        again, and takes a new one as soon as there is one. Later on, it is not taken in place of another.
        """
        self._files = files
        self._node_id = node_id
        self._cluster_id = cluster_id
        self._now = now
        self._is_starting = True
        try:
            self._kept = KeptFiles(files.all, self._read)
        except UnusableFile as error:
            raise StartupError(str(error)) from None
        self._is_starting = False

    @property
    def current(self) -> InForce:
        """The same object until new files are taken."""
        return self._kept.current

    def look(self, *, closely: bool = False) -> bool:
        """True, and told in the log, if new files were taken. closely: reads them, whatever stat says."""
        taken = self._kept.look(closely=closely)
        if taken:
            told = ", ".join(f"{holder} {facts}" for holder, facts in self.current.facts)
            _log.info("new certificates are in force: %s", told)
        return taken

    def expiries(self) -> Sequence[tuple[str, datetime]]:
        """By what holds the certificate: the moment from which it is not valid; of a bundle, the earliest."""
        earliest: dict[str, datetime] = {}
        for holder, facts in self.current.facts:
            earliest[holder] = min(facts.not_after, earliest.get(holder, facts.not_after))
        return tuple(earliest.items())

    def flaw(self) -> str | None:
        """Why this node's own certificate does not hold now; None if it does."""
        own = next(facts for holder, facts in self.current.facts if holder == "certificate")
        flaw = own.flaw_at(self._now())
        return None if flaw is None else f"this node's own certificate {flaw}; renew tls.cert_file"

    def _read(self) -> InForce:
        files = self._files
        certificate, key, own = read_pair(files.cert_file, files.key_file)
        problem = judge_facts(own, self._node_id, self._cluster_id)
        if problem is None and not self._is_starting:
            flaw = own.flaw_at(self._now())
            problem = None if flaw is None else f"the certificate {flaw}"
        if problem is not None:
            raise UnusableFile("cert_file", f"{files.cert_file}: {problem}")
        authority, trusted = read_authority("ca_file", files.ca_file)
        facts = [("certificate", own), *(("authority", each) for each in trusted)]
        peer_authority = authority
        if files.peer_ca_file is not None:
            peer_authority, trusted = read_authority("peer_ca_file", files.peer_ca_file)
            facts += [("peer_authority", each) for each in trusted]
        return InForce(
            api=Identity(authority, certificate, key),
            peer=Identity(peer_authority, certificate, key),
            facts=tuple(facts),
        )


def expiry_notice(holder: str, not_after: datetime, now: datetime) -> tuple[int, str] | None:
    """Level and line of what there is to say of one expiry today; None if it is more than WARN_DAYS away."""
    left_days = (not_after - now).total_seconds() / 86_400
    if left_days > WARN_DAYS:
        return None
    what = _HOLDERS[holder]
    if left_days <= 0:
        return logging.ERROR, f"{what} has expired: valid until {shown_time(not_after)}; replace it now"
    return logging.WARNING, f"{what} expires in {left_days:.1f} days, at {shown_time(not_after)}; replace it"


WARN_DAYS = 14.0
_HOLDERS = {
    "certificate": "the certificate of tls.cert_file",
    "authority": "an authority of tls.ca_file",
    "peer_authority": "an authority of tls.peer_ca_file",
}
