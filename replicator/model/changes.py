"""Changes as the feed carries them: what was done to a key, at which revision, and what the key held before."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from replicator.model.errors import Compacted
from replicator.model.ids import Revision
from replicator.model.values import KeyValue


class ChangeKind(Enum):
    """What happened to the key."""

    PUT = "put"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one key. Changes that share a revision were made at once; position: place in that revision, from 0.

    value: None for a delete, and if keys only were asked for. create_revision, version: of the pair, 0 for a delete.
    time_ms: time of the group. previous: what the key held before; None if it held nothing, if that is compacted, or
    if it was not asked for.
    """

    kind: ChangeKind
    key: bytes
    value: bytes | None
    revision: int
    position: int
    create_revision: int
    version: int
    time_ms: int
    previous: KeyValue | None = None


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """Changes in order, each revision whole; none: a mark of progress.

    Every change that was asked for, up to `revision`, is in this batch or came before it. token: says the same, on any
    node, and serves reads. caught_up: it holds all that its node had applied. Revision 0 without a token: the node has
    not reached the revision that was asked for, so it promises nothing but that it is alive.
    """

    changes: tuple[Change, ...]
    revision: int
    token: str
    caught_up: bool


@dataclass(frozen=True, slots=True)
class SnapshotPart:
    """Pairs of a range, all as of `revision`; the parts of one snapshot follow each other, then come changes after it.

    is_first: a new snapshot begins, and what was known before is void. is_last: the snapshot is whole.
    """

    pairs: tuple[KeyValue, ...]
    revision: int
    token: str
    is_first: bool
    is_last: bool

    @property
    def changes(self) -> tuple[Change, ...]:
        """None: so that who looks at changes only need not ask what came."""
        return ()


@dataclass(slots=True, eq=False)
class StoredChange:
    """One change as the store holds it. superseded: revision and position of the key's change before it, or (0, 0).

    Shared by all who watch the key, so nothing of it changes but what is added by and by: previous, once it was looked
    up (`has_previous`), and what the API has made of it (`encoded`, by form).
    """

    revision: Revision
    position: int
    key: bytes
    value: bytes
    create_revision: int
    version: int
    time_ms: int
    is_delete: bool
    superseded: tuple[int, int]
    has_previous: bool = False
    previous: KeyValue | None = None
    encoded: dict[Any, bytes] = field(default_factory=dict)

    @property
    def kind(self) -> ChangeKind:
        return ChangeKind.DELETE if self.is_delete else ChangeKind.PUT

    @property
    def size_bytes(self) -> int:
        """Of keys and values, the previous one included if it is known."""
        return len(self.key) + len(self.value) + (0 if self.previous is None else len(self.previous.value))


def forgotten(revision: int, compacted_revision: Revision) -> Compacted:
    """For a watch that begins, or goes on, before the oldest revision that is held."""
    return Compacted(
        f"changes of revision {revision} are forgotten, the oldest held are of {compacted_revision}; read the present "
        "state and watch from there, or ask for a snapshot first",
        metadata={"revision": str(revision), "compacted_revision": str(compacted_revision)},
    )
