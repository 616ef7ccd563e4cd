"""How results look: JSON that always carries every field, or text with one fact a line.

Bytes in JSON: `value` is the text if the bytes are UTF-8, else null; `value_base64` is their base64 if they are not
UTF-8, else null. Keys likewise.
"""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import click

from replicator.cli.exit_codes import one_line

Format = Literal["text", "json"]
JsonValue = str | int | float | bool | None

_TABLE_COLUMNS_PIPED: Final = 200  # wide enough that nothing wraps when nobody looks
_ESCAPES: Final = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"}


def bytes_fields(name: str, value: bytes | None) -> dict[str, JsonValue]:
    """`name` and `name_base64` for JSON."""
    if value is None:
        return {name: None, f"{name}_base64": None}
    try:
        return {name: value.decode("utf-8"), f"{name}_base64": None}
    except UnicodeDecodeError:
        return {name: None, f"{name}_base64": base64.b64encode(value).decode("ascii")}


def shown(value: bytes) -> str:
    r"""Bytes as text on one line. What is not printable UTF-8, and the backslash, appear as backslash escapes."""
    parts = []
    for char in value.decode("utf-8", errors="surrogateescape"):
        if "\udc80" <= char <= "\udcff":  # a byte that is not part of valid UTF-8
            parts.append(f"\\x{ord(char) - 0xDC00:02x}")
        else:
            parts.append(_ESCAPES.get(char) or (char if char.isprintable() else repr(char)[1:-1]))
    return "".join(parts)


def json_text(fields: object) -> str:
    """The one way in which the CLI writes JSON."""
    return json.dumps(fields, ensure_ascii=False)


def print_json(fields: object) -> None:
    """One document on stdout."""
    click.echo(json_text(fields))


def say(line: str) -> None:
    """One line on stderr: talk, not data."""
    click.echo(f"replicator: {one_line(line)}", err=True)


def print_facts(fields: dict[str, JsonValue]) -> None:
    """`name=value` pairs on one line of stdout."""
    click.echo(" ".join(f"{name}={_fact(value)}" for name, value in fields.items()))


def _fact(value: JsonValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Column:
    """right: numbers line up at their last digit. wraps: the one column that may take more than a line."""

    title: str
    right: bool = False
    wraps: bool = False


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """A table for people."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    # No markup: texts of other nodes are shown as they are. Rich itself honours NO_COLOR.
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=_TABLE_COLUMNS_PIPED)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            column.title,
            no_wrap=not column.wraps,
            overflow="fold" if column.wraps else "ellipsis",  # a long path in a note is shown whole
            justify="right" if column.right else "left",
        )
    for row in rows:
        table.add_row(*row)
    console.print(table)
