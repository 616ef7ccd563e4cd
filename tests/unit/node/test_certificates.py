"""The keeper of a node's certificates: takes new files by itself and when asked, and warns of their end."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from replicator.certificates import NodeCertificates, TlsFiles
from replicator.node.certificates import CertificateKeeper, days_left
from tests.support.authority import DAY, Authority, opened, put_pair, tls_files
from tests.support.links import until

AUTHORITY = Authority()
SOON, LATE = 5 * DAY, 100 * DAY


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return tls_files(tmp_path / "tls", AUTHORITY.pem, AUTHORITY.node("n1", ends=SOON))


@pytest.fixture
def certificates(files: TlsFiles) -> NodeCertificates:
    return opened(files, "n1")


@pytest.fixture
async def keeper(certificates: NodeCertificates) -> AsyncIterator[CertificateKeeper]:
    keeper = CertificateKeeper(certificates, None)
    task = asyncio.create_task(keeper.run())
    yield keeper
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def said(caplog: pytest.LogCaptureFixture, part: str) -> int:
    return sum(part in record.message for record in caplog.records)


async def test_new_files_are_taken_without_being_asked(
    keeper: CertificateKeeper, certificates: NodeCertificates, files: TlsFiles
) -> None:
    renewed = AUTHORITY.node("n1", ends=LATE)
    put_pair(files.cert_file.parent, renewed)
    await until(lambda: certificates.current.api.certificate == renewed.certificate)
    assert dict(days_left(certificates))["certificate"] == pytest.approx(100, abs=0.1)


async def test_asked_for_new_files_it_looks_at_once_and_says_what_came_of_it(
    keeper: CertificateKeeper, certificates: NodeCertificates, files: TlsFiles, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    keeper.hurry()
    await until(lambda: said(caplog, "asked for new certificates: no file has changed") == 1)
    put_pair(files.cert_file.parent, AUTHORITY.node("n1", ends=LATE))
    keeper.hurry()
    await until(lambda: said(caplog, "new certificates are in force") == 1)


async def test_the_end_of_a_certificate_is_told_once_a_day_until_it_is_replaced(
    keeper: CertificateKeeper, files: TlsFiles, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ends_soon = "the certificate of tls.cert_file expires in 5.0 days"
    await until(lambda: said(caplog, ends_soon) == 1)
    for time in range(1, 4):
        keeper.hurry()
        await until(lambda time=time: said(caplog, "no file has changed") == time)  # type: ignore[misc]
    assert said(caplog, ends_soon) <= 2, "two if midnight passed"
    put_pair(files.cert_file.parent, AUTHORITY.node("n1", ends=LATE))
    await until(lambda: said(caplog, "new certificates are in force") == 1)


async def test_a_certificate_that_the_admin_port_cannot_load_does_not_end_the_keeper(
    certificates: NodeCertificates, files: TlsFiles, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(ssl.SSLContext):
        def load_cert_chain(self, *_: object, **__: object) -> None:
            raise ssl.SSLError("no")

    keeper = CertificateKeeper(certificates, Broken(ssl.PROTOCOL_TLS_SERVER))
    task = asyncio.create_task(keeper.run())
    for ends in (LATE, 2 * LATE):
        put_pair(files.cert_file.parent, AUTHORITY.node("n1", ends=ends))
        keeper.hurry()
        await until(lambda ends=ends: dict(days_left(certificates))["certificate"] > ends.days - 1)  # type: ignore[misc]
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
