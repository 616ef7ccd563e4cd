"""Tokens that travel by themselves: through the tasks of a request, and with it from service to service.

See docs/sdk.md, "Sessions".
"""

from replicator.client.causality import Causality, carried, current
from replicator.client.headers import (
    AsgiMiddleware,
    httpx_async_hooks,
    httpx_hooks,
    inject,
    observe,
)
from replicator.model.causal_token import TOKEN_HEADER

__all__ = [
    "TOKEN_HEADER",
    "AsgiMiddleware",
    "Causality",
    "carried",
    "current",
    "httpx_async_hooks",
    "httpx_hooks",
    "inject",
    "observe",
]
