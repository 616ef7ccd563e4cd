"""The one name for what gRPC hands a handler besides the message."""

from collections.abc import Iterable
from typing import Any, TypeAlias

import grpc.aio

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


def metadata_value(context: Context, key: str) -> str | None:
    """First text value under `key` of the call's metadata. The runtime hands over pairs, whatever the stubs say."""
    pairs: Iterable[tuple[str, str | bytes]] = context.invocation_metadata() or ()
    return next((value for name, value in pairs if name == key and isinstance(value, str)), None)
