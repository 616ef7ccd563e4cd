"""What happened, as the clients saw it: the only thing that a checker sees.

Append-only, one record a call. A call that the SDK repeats inside is one record, from its first start to its last end.
All times are of one monotonic clock, read just before the call and just after it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

OPERATIONS_MAX: Final = 1_000_000  # some hundred bytes each; beyond it the run is void, not trimmed


class Kind(Enum):
    """What was asked for."""

    PUT = "put"
    COMPARE_AND_SET = "compare_and_set"
    DELETE = "delete"
    READ = "read"


WRITES: Final = frozenset({Kind.PUT, Kind.COMPARE_AND_SET, Kind.DELETE})


class Result(Enum):
    """FAILED: known to have changed nothing (a lost comparison included). UNKNOWN: may have happened, once."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call of one worker.

    value: what was written, or read (None: no such key). element: what the write adds to the list that the key holds.
    amount: what the write adds to the number that the key holds. carried: the token that a read brought along.
    token: the one that the answer gave back. expected_revision: of a compare-and-set. revision: of the write, or of
    the state that a read saw. mod_revision, version: of the pair that a read returned. node, answered_in: who answered.
    linearizable: what a read asked for; the others are causal.
    """

    kind: Kind
    worker: str
    region: str
    key: str
    result: Result
    start_s: float
    end_s: float
    value: str | None = None
    element: str | None = None
    amount: int = 0
    expected_revision: int | None = None
    carried: str = ""
    token: str = ""
    revision: int = 0
    mod_revision: int = 0
    version: int = 0
    node: str = ""
    answered_in: str = ""
    linearizable: bool = False
    error: str = ""

    @property
    def is_write(self) -> bool:
        return self.kind in WRITES

    @property
    def took_s(self) -> float:
        return self.end_s - self.start_s

    def __str__(self) -> str:
        at = f"@{self.mod_revision or self.revision}" if self.result is Result.OK else f" ({self.result.value})"
        return f"{self.kind.value} {self.key}{at} by {self.worker}"


@dataclass(frozen=True, slots=True)
class Pair:
    """One key of a node's final copy."""

    value: str
    mod_revision: int
    version: int


@dataclass(frozen=True, slots=True)
class FinalCopy:
    """Everything that one node holds once all is quiet. Hashes are hexadecimal."""

    node: str
    region: str
    pairs: Mapping[str, Pair]
    applied_index: int = 0
    rolling_hash: str = ""
    state_hash: str = ""


@dataclass(frozen=True, slots=True)
class Export:
    """All pairs, page by page, of the revision that the pages named. start_s, end_s: of all pages."""

    worker: str
    revision: int
    pairs: Mapping[str, Pair]
    start_s: float
    end_s: float

    def __str__(self) -> str:
        return f"export@{self.revision} by {self.worker}"


class History:
    """The record of one run. Also written to a file, line by line, so that a run that dies leaves its record."""

    def __init__(self, file: Path | None = None) -> None:
        self._operations: list[Operation] = []
        self._sink = file.open("w", encoding="utf-8", buffering=1) if file is not None else None
        self.copies: list[FinalCopy] = []
        self.exports: list[Export] = []  # in memory only: each holds all that there is

    @classmethod
    def of(
        cls, operations: Iterable[Operation], copies: Iterable[FinalCopy] = (), exports: Iterable[Export] = ()
    ) -> "History":
        """A history from its parts."""
        history = cls()
        for operation in operations:
            history.append(operation)
        history.copies, history.exports = list(copies), list(exports)
        return history

    @classmethod
    def load(cls, file: Path) -> "History":
        """The operations of an earlier run, to judge them again."""
        with file.open(encoding="utf-8") as lines:
            return cls.of(_from_json(json.loads(line)) for line in lines)

    def append(self, operation: Operation) -> None:
        """Adds what has just ended."""
        if len(self._operations) >= OPERATIONS_MAX:
            raise OverflowError(f"more than {OPERATIONS_MAX} operations in one run")
        self._operations.append(operation)
        if self._sink is not None:
            self._sink.write(json.dumps(_to_json(operation), separators=(",", ":")) + "\n")

    def close(self) -> None:
        """Closes the file. Idempotent."""
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    def __len__(self) -> int:
        return len(self._operations)

    def __iter__(self) -> Iterator[Operation]:
        """In the order in which the calls ended."""
        return iter(self._operations)

    def since(self, count: int) -> list[Operation]:
        """What was added after the first `count`."""
        return self._operations[count:]

    def writes(self, *results: Result) -> list[Operation]:
        """Writes with one of these results; all of them if none is named."""
        return [o for o in self._operations if o.is_write and (not results or o.result in results)]

    def reads(self) -> list[Operation]:
        """Reads that were answered."""
        return [o for o in self._operations if o.kind is Kind.READ and o.result is Result.OK]

    def deleted_keys(self) -> frozenset[str]:
        """Keys that a delete may have removed: their absence and their version count prove nothing."""
        return frozenset(o.key for o in self.writes(Result.OK, Result.UNKNOWN) if o.kind is Kind.DELETE)

    def perhaps_deleted_keys(self) -> frozenset[str]:
        """Keys that a delete of unknown outcome may have removed: what it did has no revision here."""
        return frozenset(write.key for write in self.writes(Result.UNKNOWN) if write.kind is Kind.DELETE)


def _to_json(operation: Operation) -> dict[str, Any]:
    """Without the fields that hold their default: a history has many lines."""
    fields = {name: value for name, value in asdict(operation).items() if value not in (None, "", 0) or name == "value"}
    return {name: value.value if isinstance(value, Enum) else value for name, value in fields.items()} | {
        name: getattr(operation, name) for name in ("start_s", "end_s", "expected_revision")
    }


def _from_json(fields: dict[str, Any]) -> Operation:
    return Operation(**fields | {"kind": Kind(fields["kind"]), "result": Result(fields["result"])})
