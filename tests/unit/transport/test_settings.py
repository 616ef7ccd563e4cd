"""What a transport refuses to be told."""

from pathlib import Path

import pytest

from replicator.model.errors import StartupError
from replicator.model.ids import NodeId, Region
from replicator.transport.settings import PeerAddress, TlsFiles
from tests.support.links import a_circle


def test_a_node_is_not_its_own_contact() -> None:
    rows = tuple(PeerAddress(NodeId(name), Region("eu"), "127.0.0.1:1") for name in ("n1", "n2"))
    assert [contact.node_id for contact in a_circle("n1", {}, contacts=rows).settings.contacts] == ["n2"]


def test_a_missing_certificate_is_one_line_that_names_the_field(tmp_path: Path) -> None:
    present = tmp_path / "ca.pem"
    present.write_text("x")
    with pytest.raises(StartupError, match=r"^tls\.key_file: .*absent\.pem cannot be read: No such file"):
        TlsFiles(ca_file=present, cert_file=present, key_file=tmp_path / "absent.pem").read()
