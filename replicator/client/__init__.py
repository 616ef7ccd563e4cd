"""The public async SDK: `connect` gives a Client.

Exists so that failover, retries and exactly-once ids are right once, not in every caller.
Knows: model, stubs. Must not know: any other room of the node; it meets them over the wire, like everybody.
"""

from replicator.client.belonging import GRPC_SETTING as _GRPC_SETTING  # noqa: F401  # first: gRPC reads it on import
from replicator.client.client import Client, connect
from replicator.client.session import Session
from replicator.client.tls import ClientTls

__all__ = ["Client", "ClientTls", "Session", "connect"]
