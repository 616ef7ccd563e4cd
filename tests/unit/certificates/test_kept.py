"""Files that change under a running node: good ones are taken, the others change nothing."""

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from replicator.certificates import NodeCertificates, TlsFiles
from replicator.certificates.node import expiry_notice
from replicator.model.errors import StartupError
from tests.support.authority import DAY, Authority, opened, put, put_pair, tls_files

AUTHORITY = Authority()


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return tls_files(tmp_path / "tls", AUTHORITY.pem, AUTHORITY.node("n1"))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


def test_nothing_changes_as_long_as_the_files_do_not(files: TlsFiles) -> None:
    kept = opened(files, "n1")
    before = kept.current
    assert not kept.look()
    assert not kept.look(closely=True)
    files.cert_file.touch()
    assert not kept.look()
    assert kept.current is before


def test_a_new_pair_is_taken_and_told_once(files: TlsFiles, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    kept, renewed = opened(files, "n1"), AUTHORITY.node("n1", ends=5 * DAY)
    put_pair(files.cert_file.parent, renewed)
    assert kept.look()
    assert not kept.look()
    assert kept.current.api.certificate == renewed.certificate
    assert kept.current.peer.key == renewed.key
    (line,) = [r.message for r in caplog.records if r.message.startswith("new certificates are in force: ")]
    assert "certificate 'CN=n1' valid until 20" in line
    assert "authority 'CN=authority' valid until 20" in line


def test_a_half_written_key_changes_nothing_until_whole(files: TlsFiles, caplog: pytest.LogCaptureFixture) -> None:
    kept, renewed = opened(files, "n1"), AUTHORITY.node("n1")
    before = kept.current
    files.cert_file.write_bytes(renewed.certificate)
    for size in (0, len(renewed.key) // 2, len(renewed.key) // 2):
        files.key_file.write_bytes(renewed.key[:size])
        assert not kept.look()
    assert kept.current is before
    assert all(f"tls.key_file {files.key_file} are not a usable pair" in line for line in warnings(caplog))
    assert all("the previous files stay in force, and the next check tries again" in w for w in warnings(caplog))
    assert 1 <= len(warnings(caplog)) <= 2, "each problem once"
    files.key_file.write_bytes(renewed.key)
    assert kept.look()
    assert kept.current.api.key == renewed.key


def test_a_file_that_is_gone_for_a_moment_changes_nothing(files: TlsFiles, caplog: pytest.LogCaptureFixture) -> None:
    kept = opened(files, "n1")
    files.ca_file.unlink()
    assert not kept.look()
    assert warnings(caplog)[0].startswith(f"tls.ca_file: {files.ca_file} cannot be read: No such file")
    put(files.ca_file, AUTHORITY.pem)
    assert not kept.look()


@pytest.mark.parametrize(
    ("issued", "why"),
    [
        (AUTHORITY.node("n2"), "lacks the DNS name 'n1.node.shop.replicator'"),
        (AUTHORITY.node("n1", "warehouse"), "lacks the DNS name 'n1.node.shop.replicator'"),
        (AUTHORITY.client("n1"), "and server use"),
        (AUTHORITY.node("n1", begins=-2 * DAY, ends=-DAY), "has expired"),
        (AUTHORITY.node("n1", begins=DAY, ends=2 * DAY), "is not yet valid"),
    ],
    ids=["another-node", "another-cluster", "client", "expired", "not-yet"],
)
def test_a_certificate_that_peers_would_refuse_is_not_taken(
    files: TlsFiles, caplog: pytest.LogCaptureFixture, issued: object, why: str
) -> None:
    kept = opened(files, "n1")
    before = kept.current
    put_pair(files.cert_file.parent, issued)  # type: ignore[arg-type]
    assert not kept.look()
    assert kept.current is before
    assert why in warnings(caplog)[0]


def test_one_that_was_not_yet_valid_is_taken_once_it_is(files: TlsFiles) -> None:
    now = datetime.now(UTC)
    kept = NodeCertificates(files, "n1", "shop", now=lambda: now)  # type: ignore[arg-type]
    put_pair(files.cert_file.parent, AUTHORITY.node("n1", begins=DAY, ends=5 * DAY))
    assert not kept.look()
    now += 2 * DAY
    assert kept.look()


def test_a_bundle_is_trusted_as_a_whole_and_its_earliest_end_counts(files: TlsFiles) -> None:
    other = Authority("another")
    kept = opened(files, "n1")
    put(files.ca_file, AUTHORITY.pem + other.pem)
    assert kept.look()
    assert kept.current.peer.authority == AUTHORITY.pem + other.pem
    ends = dict(kept.expiries())
    assert ends.keys() == {"certificate", "authority"}
    assert ends["authority"] == min(f.not_after for holder, f in kept.current.facts if holder == "authority")


def test_the_peer_port_may_trust_an_authority_of_its_own(files: TlsFiles) -> None:
    other = Authority("of nodes")
    separate = put(files.ca_file.with_name("peers.pem"), other.pem)
    kept = opened(TlsFiles(files.ca_file, files.cert_file, files.key_file, separate), "n1")
    assert kept.current.api.authority == AUTHORITY.pem
    assert kept.current.peer.authority == other.pem
    assert [holder for holder, _ in kept.expiries()] == ["certificate", "authority", "peer_authority"]


def test_a_node_starts_with_an_expired_certificate_and_says_so(tmp_path: Path) -> None:
    """There is no better one, and a new one is taken as soon as it is there."""
    expired = AUTHORITY.node("n1", begins=-2 * DAY, ends=-DAY)
    kept = opened(tls_files(tmp_path / "tls", AUTHORITY.pem, expired), "n1")
    assert "has expired" in str(kept.flaw())
    put_pair(tmp_path / "tls", AUTHORITY.node("n1"))
    assert kept.look()
    assert kept.flaw() is None


def test_what_cannot_be_used_at_the_start_is_one_line_that_names_the_field(files: TlsFiles) -> None:
    absent = files.key_file.with_name("absent.pem")
    with pytest.raises(StartupError, match=r"^tls\.key_file: .*absent\.pem cannot be read: No such file"):
        opened(TlsFiles(files.ca_file, files.cert_file, absent), "n1")
    with pytest.raises(StartupError, match=r"^tls\.cert_file: .* are not a usable pair"):
        opened(TlsFiles(files.ca_file, files.key_file, files.key_file), "n1")
    with pytest.raises(StartupError, match=r"^tls\.ca_file: .* holds no PEM certificate"):
        opened(TlsFiles(files.key_file, files.cert_file, files.key_file), "n1")


def test_the_end_of_a_certificate_is_told_two_weeks_ahead() -> None:
    now = datetime.now(UTC)
    assert expiry_notice("certificate", now + 15 * DAY, now) is None
    soon, late = expiry_notice("certificate", now + 13 * DAY, now), expiry_notice("authority", now - DAY, now)
    assert soon is not None
    assert late is not None
    assert (soon[0], late[0]) == (logging.WARNING, logging.ERROR)
    assert "the certificate of tls.cert_file expires in 13.0 days" in soon[1]
    assert "an authority of tls.ca_file has expired" in late[1]
