"""What a transport refuses to be told."""

from pathlib import Path

import pytest

from replicator.model.errors import StartupError
from replicator.transport.settings import TlsFiles
from tests.support.links import a_setting


def test_a_node_is_not_its_own_peer() -> None:
    assert [peer.node_id for peer in a_setting("n1", {"n1": 1, "n2": 1}).peers] == ["n2"]


def test_a_missing_certificate_is_one_line_that_names_the_field(tmp_path: Path) -> None:
    present = tmp_path / "ca.pem"
    present.write_text("x")
    with pytest.raises(StartupError, match=r"^tls\.key_file: .*absent\.pem cannot be read: No such file"):
        TlsFiles(ca_file=present, cert_file=present, key_file=tmp_path / "absent.pem").read()
