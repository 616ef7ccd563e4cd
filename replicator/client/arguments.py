"""Checks what a caller passes, before anything is sent: a value of a wrong type is refused.

Protobuf takes None for "not set". So a forgotten value would become an empty one, which is a value like any other.
"""

import math
from typing import Final, NoReturn

from replicator.model.errors import InvalidArgument
from replicator.model.values import Consistency

_UINT32_MAX: Final = (1 << 32) - 1
_UINT64_MAX: Final = (1 << 64) - 1
_INT64_MAX: Final = (1 << 63) - 1


def check_bytes(field: str, value: object) -> None:
    """Raises InvalidArgument for anything but bytes, as all functions here do."""
    if not isinstance(value, bytes):
        remedy = '; encode text first, as in "text".encode()' if isinstance(value, str) else ""
        refuse(field, f"{field} must be bytes, not {_kind(value)}{remedy}")


def check_text(field: str, value: object) -> None:
    if not isinstance(value, str):
        remedy = '; decode bytes first, as in b"text".decode()' if isinstance(value, bytes) else ""
        refuse(field, f"{field} must be str, not {_kind(value)}{remedy}")


def check_read_level(consistency: object, token: object, max_staleness_ms: object) -> None:
    """None stands for the default."""
    if consistency is not None and not isinstance(consistency, Consistency):
        refuse("consistency", f"consistency must be a member of replicator.Consistency, not {_kind(consistency)}")
    if token is not None:
        check_text("token", token)
    if max_staleness_ms is not None:
        uint32("max_staleness_ms", max_staleness_ms)


def check_timeout(timeout_s: object) -> None:
    is_number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
    if not is_number or not 0.0 < timeout_s < math.inf:  # type: ignore[operator]  # mypy does not follow is_number
        refuse("timeout_s", f"timeout_s is {timeout_s!r}; a call needs a finite time, greater than 0")


def uint32(field: str, value: object) -> int:
    return _in_range(field, value, _UINT32_MAX)


def uint64(field: str, value: object) -> int:
    return _in_range(field, value, _UINT64_MAX)


def int64(field: str, value: object) -> int:
    return _in_range(field, value, _INT64_MAX, -_INT64_MAX - 1)


def refuse(field: str, message: str) -> NoReturn:
    """For what no other function here checks."""
    raise InvalidArgument(message, metadata={"field": field})


def _in_range(field: str, value: object, limit: int, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        refuse(field, f"{field} must be int, not {_kind(value)}")
    if not least <= value <= limit:
        raise InvalidArgument(
            f"{field} is {value}, must be {least} to {limit}", metadata={"field": field, "limit": str(limit)}
        )
    return value


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
