"""Keeps the certificates of a running node current: looks at their files, tells the admin port, warns of their end."""

import asyncio
import logging
import ssl
from datetime import date
from pathlib import Path
from typing import Final

from replicator.certificates import NodeCertificates, TlsFiles
from replicator.certificates.contexts import load, server_context
from replicator.certificates.kept import LOOK_EVERY_S
from replicator.certificates.node import expiry_notice, utc_now
from replicator.config.schema import NodeConfig, TlsSection
from replicator.model.errors import StartupError
from replicator.model.ids import ClusterId, NodeId

_log = logging.getLogger(__name__)

_DAY_S: Final = 86_400


def open_certificates(config: NodeConfig) -> NodeCertificates | None:
    """None without [tls]. Raises StartupError naming the field."""
    if config.tls is None:
        return None
    return NodeCertificates(_files(config.tls), NodeId(config.node.id), ClusterId(config.cluster.id))


def admin_context(config: NodeConfig, certificates: NodeCertificates | None) -> ssl.SSLContext | None:
    """For the admin port; None if it is to speak plaintext. Raises StartupError."""
    if certificates is None or config.tls is None or not config.tls.admin:
        return None
    try:
        return server_context(certificates.current.api)
    except OSError as error:  # which SSLError is
        raise StartupError(f"tls.cert_file: {config.tls.cert_file} is not taken by OpenSSL: {error}") from None


def days_left(certificates: NodeCertificates | None) -> tuple[tuple[str, float], ...]:
    """By what holds the certificate; negative once it has expired."""
    if certificates is None:
        return ()
    now = utc_now()
    return tuple((holder, (end - now).total_seconds() / _DAY_S) for holder, end in certificates.expiries())


class CertificateKeeper:
    """`run` is a task beside all others; `hurry` may be called by a signal handler of the loop."""

    def __init__(self, certificates: NodeCertificates, admin: ssl.SSLContext | None) -> None:
        self._certificates = certificates
        self._admin = admin
        self._asked = asyncio.Event()
        self._told: dict[str, date] = {}

    def hurry(self) -> None:
        """Reads all files soon, whatever stat says of them."""
        self._asked.set()

    async def run(self) -> None:
        """Until it is cancelled. A bug in here is logged, and leaves what is in force as it is."""
        while True:
            closely = self._asked.is_set()
            self._asked.clear()
            try:
                await self._look(closely=closely)
            except Exception:
                _log.exception("reloading certificates failed: a bug; the previous files stay in force")
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._asked.wait()
            except TimeoutError:
                continue

    async def _look(self, *, closely: bool) -> None:
        # On a thread: the files may lie on a disk that does not answer, and the loop must not wait for it.
        if await asyncio.to_thread(self._certificates.look, closely=closely):
            if self._admin is not None:
                load(self._admin, self._certificates.current.api)
            self._told.clear()
        elif closely:
            _log.info("asked for new certificates: no file has changed")
        self._warn()

    def _warn(self) -> None:
        """At most once a day for each file."""
        now = utc_now()
        for holder, not_after in self._certificates.expiries():
            notice = expiry_notice(holder, not_after, now)
            if notice is not None and self._told.get(holder) != now.date():
                self._told[holder] = now.date()
                _log.log(*notice)


def _files(tls: TlsSection) -> TlsFiles:
    return TlsFiles(
        ca_file=Path(tls.ca_file),
        cert_file=Path(tls.cert_file),
        key_file=Path(tls.key_file),
        peer_ca_file=None if tls.peer_ca_file is None else Path(tls.peer_ca_file),
    )
