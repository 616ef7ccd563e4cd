"""A majority is lost for good: a new group from what one node's configuration and data directory hold. Offline."""

from replicator import storage
from replicator.config.schema import NodeConfig
from replicator.model.errors import DataDirectoryError
from replicator.model.ids import ClusterId, NodeId
from replicator.node import settings
from replicator.node.join_plan import own_row
from replicator.storage import Recovery


def foresee_recovery(config: NodeConfig) -> Recovery:
    """What it would do; nothing is written. Raises StartupError if it would be refused."""
    try:
        return storage.foresee(settings.data_dir(config), ClusterId(config.cluster.id), NodeId(config.node.id))
    except DataDirectoryError as error:
        raise DataDirectoryError(f"node.data_dir: {error}") from error


def recover_node(config: NodeConfig) -> Recovery:
    """Founds the group, durably: this node is its only voter, where its own row says. Raises StartupError."""
    try:
        return storage.recover(
            settings.data_dir(config),
            ClusterId(config.cluster.id),
            own_row(config, b""),
            size_max_bytes=settings.storage_bytes_max(config),
        )
    except DataDirectoryError as error:
        raise DataDirectoryError(f"node.data_dir: {error}") from error
