"""The gRPC face of a node: servicers, interceptors, and the one table from errors to statuses.

Sub-rooms: `native/` (the servicers), `interceptors/`.
Knows: stubs, the use cases of `service/`. Must not know: the engine, the store, how a promise is kept.
Path of a call: trace -> errors -> limits -> deadline -> servicer -> service.
"""

from replicator.api.server import ApiServer, ApiSettings, Services

__all__ = ["ApiServer", "ApiSettings", "Services"]
