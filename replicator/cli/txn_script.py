r"""The script of `replicator txn`: compares, an empty line, what to do if all hold, an empty line, what to do if not.

    value("stock/lamp") = "1"
    missing("order/7")

    put order/7 lamp
    del stock/lamp --prev-kv

    get stock/lamp

As etcdctl has it, with the same words. Beyond that: `exists`, `missing`, `!=`, and a second key in the brackets, which
makes a range of it: [first, second). Words are those of a shell: quotes and backslashes keep blanks together.
"""

import argparse
import os
import re
import shlex
from collections.abc import Callable, Sequence
from typing import Any, Final, Never

from replicator.model.transactions import (
    Compare,
    Delete,
    Get,
    If,
    Operation,
    Put,
    Range,
    Relation,
    Target,
    Transaction,
)

_COMPARE: Final = re.compile(r"(?P<target>\w+)\s*\((?P<keys>.*)\)\s*(?:(?P<relation>!=|=|<|>)\s*(?P<operand>.+?))?\s*")
_TARGET: Final = {
    "value": Target.VALUE,
    "val": Target.VALUE,
    "version": Target.VERSION,
    "ver": Target.VERSION,
    "create": Target.CREATE_REVISION,
    "c": Target.CREATE_REVISION,
    "mod": Target.MOD_REVISION,
    "m": Target.MOD_REVISION,
}
_BARE: Final[dict[str, Callable[[bytes | Range], Compare]]] = {"exists": If.exists, "missing": If.missing}
_PARTS: Final = 3


class ScriptFlaw(Exception):
    """The script means nothing; the text names the line."""


def parse_script(text: str) -> Transaction:
    """Raises ScriptFlaw. Parts may be missing at the end; further empty lines there mean nothing."""
    parts: list[list[tuple[int, str]]] = [[]]
    for number, line in enumerate(text.rstrip().splitlines(), start=1):
        if line.strip():
            parts[-1].append((number, line.strip()))
        elif len(parts) == _PARTS:
            raise ScriptFlaw(f"line {number}: is empty, after the third part: compares, then, else")
        else:
            parts.append([])
    compares, then, or_else = [*parts, [], []][:_PARTS]
    return Transaction(
        [_on_line(_parse_compare, *each) for each in compares],
        [_on_line(_parse_operation, *each) for each in then],
        [_on_line(_parse_operation, *each) for each in or_else],
    )


def _on_line(parse: Callable[[str], Any], number: int, line: str) -> Any:
    try:
        return parse(line)
    except ValueError as problem:
        raise ScriptFlaw(f"line {number}: {problem}") from None


def _parse_compare(line: str) -> Compare:
    """Raises ValueError."""
    found = _COMPARE.fullmatch(line)
    if found is None:
        raise ValueError(f'{line!r} is no compare; write it as in: mod("key") > "0"')
    target, keys = found["target"].lower(), _keys(_words(found["keys"].replace(",", " , ")))
    if target in _BARE:
        if found["relation"]:
            raise ValueError(f"{target} stands by itself, without {found['relation']}")
        return _BARE[target](keys)
    if target not in _TARGET:
        known = ", ".join([*_BARE, *dict.fromkeys(target.value.removesuffix("_revision") for target in Target)])
        raise ValueError(f"{found['target']!r} cannot be compared; what can: {known}")
    if not found["relation"]:
        raise ValueError(f"{line!r} compares with nothing; one of = != < > and an operand belong behind it")
    [operand] = _exactly(1, _words(found["operand"]), "operand")
    is_value = _TARGET[target] is Target.VALUE
    return Compare(
        keys, _TARGET[target], Relation(found["relation"]), os.fsencode(operand) if is_value else _number(operand)
    )


def _keys(words: Sequence[str]) -> bytes | Range:
    match words:
        case [key]:
            return os.fsencode(key)
        case [start, ",", end]:
            return Range(os.fsencode(start), os.fsencode(end))
        case _:
            raise ValueError("a key, or the first and the end of a range, belong between the brackets")


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None


def _parse_operation(line: str) -> Operation:
    """Raises ValueError."""
    name, *words = _words(line)
    parser = _PARSERS.get(name)
    if parser is None:
        raise ValueError(f"{name!r} is no operation; there are {', '.join(_PARSERS)}")
    given = parser.parse_args(words)
    if name == "put":
        return Put(os.fsencode(given.key), os.fsencode(given.value), given.prev_kv)
    keys: bytes | Range = os.fsencode(given.key)
    if given.end is not None and given.prefix:
        raise ValueError("END and --prefix exclude each other")
    if given.prefix:
        keys = Range.of_prefix(os.fsencode(given.key))
    elif given.end is not None:
        keys = Range(os.fsencode(given.key), os.fsencode(given.end))
    if name == "del":
        return Delete(keys, given.prev_kv)
    return Get(keys, given.limit, given.keys_only, given.count_only)


class _Parser(argparse.ArgumentParser):
    """Of one operation."""

    def __init__(self, name: str) -> None:
        super().__init__(prog=name, add_help=False, allow_abbrev=False)
        self.add_argument("key", metavar="KEY")

    def error(self, message: str) -> Never:
        """In place of an end of the process."""
        raise ValueError(f"{self.format_usage().removeprefix('usage: ').strip()}: {message}")


def _parsers() -> dict[str, _Parser]:
    put, get, delete = _Parser("put"), _Parser("get"), _Parser("del")
    put.add_argument("value", metavar="VALUE")
    for ranged in (get, delete):
        ranged.add_argument("end", metavar="END", nargs="?")
        ranged.add_argument("--prefix", action="store_true")
    get.add_argument("--limit", type=int, default=0, metavar="N")
    get.add_argument("--keys-only", action="store_true")
    get.add_argument("--count-only", action="store_true")
    for writing in (put, delete):
        writing.add_argument("--prev-kv", action="store_true")
    return {"put": put, "get": get, "del": delete}


_PARSERS: Final = _parsers()


def _words(text: str) -> list[str]:
    """Raises ValueError, for a quote that does not end."""
    try:
        return shlex.split(text)
    except ValueError as problem:
        raise ValueError(f"{text!r}: {str(problem).lower()}") from None


def _exactly(count: int, words: list[str], what: str) -> list[str]:
    if len(words) != count:
        raise ValueError(f"{len(words)} words where {count} {what} belongs; quote blanks")
    return words
