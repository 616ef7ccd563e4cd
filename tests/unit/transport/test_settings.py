"""What a transport refuses to be told."""

from replicator.model.ids import NodeId, Region
from replicator.transport.settings import PeerAddress
from tests.support.links import peers_of


def test_a_node_is_not_its_own_contact() -> None:
    rows = tuple(PeerAddress(NodeId(name), Region("eu"), "127.0.0.1:1") for name in ("n1", "n2"))
    assert [contact.node_id for contact in peers_of("n1", {}, contacts=rows).settings.contacts] == ["n2"]
