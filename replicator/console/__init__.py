"""The HTTP admin port: is the node alive, may it get traffic, what do its metrics say.

Exists because orchestrators and scrapers speak HTTP, not gRPC.
Knows: three questions (`Probes`) and a text to show. Must not know: the engine, the store, gRPC, OpenTelemetry.
"""

from replicator.console.pages import Exposition, Probes
from replicator.console.server import Console

__all__ = ["Console", "Exposition", "Probes"]
