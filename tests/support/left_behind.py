"""A node of a cluster by hand that hears nothing from its leader, while the others write on and compact."""

from replicator.model.ids import NodeId
from tests.support.replicas import HandCluster


def write_without(cluster: HandCluster, leader: NodeId, lagging: NodeId, count: int) -> None:
    """So many writes, during which `lagging` hears nothing from the leader. The cut stays."""
    cluster.cut = frozenset({(leader, lagging)})
    for key in range(count):
        cluster.write(b"%d" % key)
