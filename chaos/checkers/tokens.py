"""What a causal token covers: everything that the answer it came with had shown."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from chaos.history import Kind, Operation, Result


@dataclass(slots=True)
class Covered:
    """revision: of the state. keys: the newest revision of each key seen, with who saw it."""

    revision: int = 0
    keys: dict[str, Operation] = field(default_factory=dict)


def revision_of_key(operation: Operation) -> int:
    """The revision of the key that an acknowledged operation made or saw; 0 if it saw no such key."""
    return operation.revision if operation.is_write else operation.mod_revision


def covered_by_token(operations: Iterable[Operation]) -> Mapping[str, Covered]:
    """Token -> what it covers. Writes of one batch share a token, and it covers them all."""
    found: dict[str, Covered] = {}
    for operation in operations:
        if operation.token:
            covered = found.setdefault(operation.token, Covered())
            covered.revision = max(covered.revision, operation.revision)
            if operation.result is Result.OK and operation.kind is not Kind.DELETE:
                newest = covered.keys.get(operation.key)
                if newest is None or revision_of_key(newest) < revision_of_key(operation):
                    covered.keys[operation.key] = operation
    return found
