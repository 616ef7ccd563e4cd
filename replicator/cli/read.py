"""`get` and `scan`."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import click

from replicator.cli.exit_codes import CommandFailed, ExitCode
from replicator.cli.online import Online, call, online_options
from replicator.cli.output import Format, JsonValue, bytes_fields, json_text, print_json, shown
from replicator.model.limits import SCAN_PAGE_KEYS_MAX
from replicator.model.values import Consistency, GetResult, KeyValue

if TYPE_CHECKING:
    from replicator.client import Client

Command = TypeVar("Command", bound=Callable[..., Any])

_STALENESS_MS_MAX: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class ReadLevel:
    """What the read must promise. token: empty for none; max_staleness_ms: with BOUNDED only."""

    consistency: Consistency
    token: str | None
    max_staleness_ms: int | None


def read_options(command: Command, *, default: Consistency = Consistency.CAUSAL) -> Command:
    """Adds --consistency, --token and --max-staleness-ms, checked against each other, as one `level` argument."""

    def with_level(*, consistency: str, token: str | None, max_staleness_ms: int | None, **given: Any) -> Any:
        if (consistency == "bounded") != (max_staleness_ms is not None):
            raise click.UsageError("--consistency bounded and --max-staleness-ms belong together")
        return command(level=ReadLevel(Consistency(consistency), token, max_staleness_ms), **given)

    with_level.__name__ = command.__name__
    with_level.__doc__ = command.__doc__
    decorated: Any = with_level
    for option in (
        click.option(
            "--max-staleness-ms",
            type=click.IntRange(1, _STALENESS_MS_MAX),
            help="With --consistency bounded: no older than this.",
        ),
        click.option("--token", help="Causal token of an earlier answer: read at least as new."),
        click.option(
            "--consistency",
            type=click.Choice([level.value for level in Consistency]),
            default=default.value,
            show_default=True,
            help="What the read promises.",
        ),
    ):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


@click.command
@click.argument("key")
@click.option("--raw", is_flag=True, help="Write the value's bytes and nothing else: no newline after it.")
@online_options
@read_options
def get(key: str, raw: bool, level: ReadLevel, online: Online) -> None:
    """Read KEY. Prints the value; exits with 1 if the key does not exist."""
    wanted = os.fsencode(key)

    async def use(client: "Client") -> GetResult:
        return await client.get(
            wanted,
            consistency=level.consistency,
            token=level.token,
            max_staleness_ms=level.max_staleness_ms,
            timeout_s=online.timeout_s,
        )

    got = call(online, use)
    if online.wants_json:
        print_json(_get_fields(got))
    elif got.value is not None:
        _write_bytes(got.value if raw else got.value + b"\n")
    if got.value is None:
        raise CommandFailed(ExitCode.REFUSED, "ABSENT", f"key {shown(wanted)!r} does not exist")


@click.command
@click.argument("prefix", default="")
@click.option("--limit", type=click.IntRange(min=1), help="Stop after this many pairs; default: all.")
@click.option("--keys-only", is_flag=True, help="Print keys without values.")
@online_options
@read_options
def scan(prefix: str, limit: int | None, keys_only: bool, level: ReadLevel, online: Online) -> None:
    """List pairs whose key begins with PREFIX, in key order, all at one revision.

    Text: key, tab, value, one pair a line, with backslash escapes. JSON: {"kvs": [...], "count": N, "truncated": bool}.
    """
    printer = _pair_printer(online.output, keys_only=keys_only)

    async def use(client: "Client") -> None:
        printer.begin()
        count = 0
        truncated = False
        pairs = client.scan(
            prefix=os.fsencode(prefix),
            token=level.token,
            consistency=level.consistency,
            max_staleness_ms=level.max_staleness_ms,
            page_size=min(limit + 1, SCAN_PAGE_KEYS_MAX) if limit else 0,
            timeout_s=online.timeout_s,
        )
        async for kv in pairs:
            if count == limit:
                truncated = True
                break
            printer.pair(kv)
            count += 1
        printer.end(count, truncated=truncated)

    call(online, use)


def _pair_printer(output: Format, *, keys_only: bool = False) -> "PairPrinter":
    """Prints pairs as they come: `begin`, `pair` for each, `end`."""
    return _JsonPairs(keys_only) if output == "json" else _TextPairs(keys_only)


class PairPrinter(Protocol):
    """truncated: there are more pairs."""

    def begin(self) -> None: ...

    def pair(self, kv: KeyValue) -> None: ...

    def end(self, count: int, *, truncated: bool) -> None: ...


class _TextPairs:
    def __init__(self, keys_only: bool) -> None:
        self._keys_only = keys_only

    def begin(self) -> None:
        """Text needs no opening."""

    def pair(self, kv: KeyValue) -> None:
        click.echo(shown(kv.key) if self._keys_only else f"{shown(kv.key)}\t{shown(kv.value)}")

    def end(self, count: int, *, truncated: bool) -> None:
        if truncated:
            click.echo(f"replicator: stopped after {count} pairs (--limit); there are more", err=True)


class _JsonPairs:
    """One document, written as the pages come in: a scan of any size needs the memory of one page."""

    def __init__(self, keys_only: bool) -> None:
        self._keys_only = keys_only
        self._separator = "\n"

    def begin(self) -> None:
        click.echo('{"kvs": [', nl=False)

    def pair(self, kv: KeyValue) -> None:
        click.echo(self._separator + json_text(pair_fields(kv, self._keys_only)), nl=False)
        self._separator = ",\n"

    def end(self, count: int, *, truncated: bool) -> None:
        click.echo(f'], "count": {count}, "truncated": {json_text(truncated)}}}')


def _get_fields(got: GetResult) -> dict[str, JsonValue]:
    return {
        "found": got.value is not None,
        **bytes_fields("key", got.key),
        **bytes_fields("value", got.value),
        "mod_revision": got.mod_revision,
        "create_revision": got.create_revision,
        "version": got.version,
        "revision": got.revision,
        "token": got.token,
        "staleness_ms": got.staleness_ms,
        "node_id": got.node_id,
        "region": got.region,
    }


def pair_fields(kv: KeyValue, keys_only: bool) -> dict[str, JsonValue]:
    return {
        **bytes_fields("key", kv.key),
        **bytes_fields("value", None if keys_only else kv.value),
        "mod_revision": kv.mod_revision,
        "create_revision": kv.create_revision,
        "version": kv.version,
    }


def _write_bytes(data: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
