"""The client for code without async: `replicator.sync.connect`, with the calls of `replicator.connect`."""

from replicator.client.sync_client import SyncClient, connect

__all__ = ["SyncClient", "connect"]
