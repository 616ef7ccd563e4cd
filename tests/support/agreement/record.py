"""What callers of real and of simulated nodes write down, in the same words: the checkers know no other."""

from dataclasses import replace
from typing import Final, Protocol

from chaos.history import Kind, Operation, Result
from replicator.model.errors import ReplicatorError
from tests.support.agreement.stage import Ended

ENDED: Final[dict[Result, Ended]] = {Result.OK: "ok", Result.UNKNOWN: "unknown", Result.FAILED: "refused"}


class Found(Protocol):
    """A key that exists, as a node tells of it."""

    @property
    def value(self) -> bytes: ...

    @property
    def mod_revision(self) -> int: ...

    @property
    def version(self) -> int: ...


def begun(
    kind: Kind, worker: str, region: str, node: str, key: str, now_s: float, value: str | None = None
) -> Operation:
    """A call that sets out now."""
    return Operation(
        kind=kind, worker=worker, region=region, key=key, value=value, result=Result.FAILED,
        start_s=now_s, end_s=now_s, node=node,
    )  # fmt: skip


def failed(asked: Operation, error: ReplicatorError) -> Operation:
    """Only of a write can it be unknown whether it happened."""
    unknown = asked.is_write and error.applied == "unknown"
    return replace(asked, result=Result.UNKNOWN if unknown else Result.FAILED, error=error.reason)


def read(asked: Operation, found: Found | None, revision: int, token: str, node: str) -> Operation:
    """What a read has shown. found: None if the key does not exist."""
    return replace(
        asked,
        result=Result.OK,
        value=found.value.decode() if found else None,
        mod_revision=found.mod_revision if found else 0,
        version=found.version if found else 0,
        revision=revision,
        token=token,
        node=node,
    )


def newer(known: Operation | None, operation: Operation) -> Operation | None:
    """Of what was acknowledged or read: what readers hear of from others."""
    is_newer = operation.result is Result.OK and (known is None or operation.revision >= known.revision)
    return operation if is_newer else known
