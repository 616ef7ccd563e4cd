"""What a transaction is made of, and what it returns: small values that callers write down and read.

    Transaction(
        compare=[If.value(b"stock/lamp") == b"1", If.missing(b"order/7")],
        then=[Put(b"order/7", b"lamp"), Delete(b"stock/lamp")],
        or_else=[Get(b"stock/lamp")],
    )

Fields are checked where a transaction is sent, not here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NoReturn, TypeAlias

from replicator.model.values import KeyValue, prefix_end


@dataclass(frozen=True, slots=True)
class Range:
    """Keys in [start, end); an empty end: to the end of the keyspace."""

    start: bytes
    end: bytes = b""

    @classmethod
    def of_prefix(cls, prefix: bytes) -> "Range":
        """All keys that begin with it."""
        return cls(prefix, prefix_end(prefix))


class Target(Enum):
    """What of a pair is compared. All but VALUE are 0 of a key that does not exist."""

    VALUE = "value"
    VERSION = "version"
    CREATE_REVISION = "create_revision"
    MOD_REVISION = "mod_revision"


class Relation(Enum):
    """Of what is stored to what is given."""

    EQUAL = "="
    NOT_EQUAL = "!="
    GREATER = ">"
    LESS = "<"


@dataclass(frozen=True, slots=True)
class Compare:
    """operand: bytes for VALUE, a number for the others. Made by `If`.

    Over a range, it holds if it does for each key. A key that does not exist has no value: a comparison of VALUE is
    then false, `!=` too. A range without keys counts as such a key.
    """

    keys: bytes | Range
    target: Target
    relation: Relation
    operand: bytes | int

    def __bool__(self) -> NoReturn:
        # `1 < If.version(k) < 5` would keep its second half only, and `if If...` would always be true.
        raise TypeError("the cluster evaluates a Compare, when the transaction runs; list several one by one")


@dataclass(frozen=True, slots=True, eq=False)
class Comparable:
    """The left side of a comparison: `If.value(key) == b"v"` is a Compare."""

    keys: bytes | Range
    target: Target

    def __eq__(self, operand: bytes | int) -> Compare:  # type: ignore[override]  # object's gives a bool
        return Compare(self.keys, self.target, Relation.EQUAL, operand)

    def __ne__(self, operand: bytes | int) -> Compare:  # type: ignore[override]
        return Compare(self.keys, self.target, Relation.NOT_EQUAL, operand)

    def __gt__(self, operand: bytes | int) -> Compare:
        return Compare(self.keys, self.target, Relation.GREATER, operand)

    def __lt__(self, operand: bytes | int) -> Compare:
        return Compare(self.keys, self.target, Relation.LESS, operand)

    __hash__ = None  # type: ignore[assignment]  # what compares as this does is no key of a dict


class If:
    """Names of what can be compared."""

    @staticmethod
    def value(keys: bytes | Range) -> Comparable:
        return Comparable(keys, Target.VALUE)

    @staticmethod
    def version(keys: bytes | Range) -> Comparable:
        """Writes since the key was created."""
        return Comparable(keys, Target.VERSION)

    @staticmethod
    def create_revision(keys: bytes | Range) -> Comparable:
        return Comparable(keys, Target.CREATE_REVISION)

    @staticmethod
    def mod_revision(keys: bytes | Range) -> Comparable:
        return Comparable(keys, Target.MOD_REVISION)

    @staticmethod
    def exists(keys: bytes | Range) -> Compare:
        """Of a range: holds some key."""
        return Compare(keys, Target.VERSION, Relation.NOT_EQUAL, 0)

    @staticmethod
    def missing(keys: bytes | Range) -> Compare:
        """Of a range: holds no key."""
        return Compare(keys, Target.VERSION, Relation.EQUAL, 0)


@dataclass(frozen=True, slots=True)
class Put:
    """previous: return the pair that was there."""

    key: bytes
    value: bytes
    previous: bool = False


@dataclass(frozen=True, slots=True)
class Get:
    """limit: at most so many pairs, 0 for all. count_only: count all keys, whatever the limit, and return no pairs."""

    keys: bytes | Range
    limit: int = 0
    keys_only: bool = False
    count_only: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """previous: return the pairs that were there."""

    keys: bytes | Range
    previous: bool = False


@dataclass(frozen=True, slots=True)
class Transaction:
    """If all compares hold, `then`, else `or_else`, in order; itself an operation of another one."""

    compare: Sequence[Compare] = ()
    then: "Sequence[Operation]" = ()
    or_else: "Sequence[Operation]" = ()


Operation: TypeAlias = Put | Get | Delete | Transaction


@dataclass(frozen=True, slots=True)
class PutDone:
    """existed: whether there was a pair. previous: that pair, if it was asked for."""

    existed: bool
    previous: KeyValue | None


@dataclass(frozen=True, slots=True)
class GetDone:
    """pairs: in key order; without values for keys_only. count: of `pairs`, or of all keys for count_only.

    more: the limit has left pairs out.
    """

    pairs: tuple[KeyValue, ...]
    count: int
    more: bool

    @property
    def value(self) -> bytes | None:
        """Of the first pair; None if there is none."""
        return self.pairs[0].value if self.pairs else None


@dataclass(frozen=True, slots=True)
class DeleteDone:
    """count: keys that were deleted. previous: their pairs, if they were asked for."""

    count: int
    previous: tuple[KeyValue, ...]


@dataclass(frozen=True, slots=True)
class BranchDone:
    """What a transaction did. succeeded: all compares held. results: of the branch that ran, in its order."""

    succeeded: bool
    results: "tuple[OperationDone, ...]"


OperationDone: TypeAlias = PutDone | GetDone | DeleteDone | BranchDone


@dataclass(frozen=True, slots=True)
class TxnResult(BranchDone):
    """revision: that all its changes share; of the store if it changed nothing. token: a causal token that covers it.

    duplicate: this is the answer to an earlier attempt of the same call, as it was then.
    """

    revision: int
    token: str
    duplicate: bool


OPERATIONS: Final = (Put, Get, Delete, Transaction)
