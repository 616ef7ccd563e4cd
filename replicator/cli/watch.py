"""`watch`."""

import asyncio
import os
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from replicator.cli.online import Online, call, online_options
from replicator.cli.output import bytes_fields, json_text, say, shown
from replicator.model.changes import Change, ChangeBatch, SnapshotPart
from replicator.model.values import KeyValue

if TYPE_CHECKING:
    from replicator.client import Client


@click.command
@click.argument("key", required=False)
@click.option("--prefix", help="Instead of KEY: all keys that begin with this; an empty one: all keys.")
@click.option("--from-revision", type=click.IntRange(min=1), help="Begin with this revision; default: now.")
@click.option("--token", help="Begin after what this token covers.")
@click.option("--snapshot", is_flag=True, help="Begin with the pairs that exist, then what changes after that.")
@click.option("--prev", "with_previous", is_flag=True, help="Show what each change replaced.")
@click.option("--keys-only", is_flag=True, help="Show keys without values.")
@click.option("--progress", "with_progress", is_flag=True, help="Show marks of progress, too.")
@online_options
def watch(key: str | None, prefix: str | None, online: Online, with_progress: bool, **asked: Any) -> None:
    """Follow changes of KEY, or of all keys with a prefix, until Ctrl-C, which ends it with 0.

    Text: revision, `put` or `delete`, key, value, with tabs between, a change a line. JSON: an object a line. At the
    end, stderr says from which revision to go on. Goes on at another node by itself if one fails; gives up once no
    node has served for --timeout seconds.
    """
    if (key is None) == (prefix is None):
        raise click.UsageError("give KEY or --prefix, one of them")
    if asked["snapshot"] and asked["from_revision"]:
        raise click.UsageError("--snapshot says itself where the changes begin: leave --from-revision out")
    names: dict[str, Any] = {"prefix": os.fsencode(prefix)} if prefix is not None else {"key": os.fsencode(key or "")}
    printer = _Printer(wants_json=online.wants_json, with_progress=with_progress, keys_only=asked["keys_only"])

    async def use(client: "Client") -> None:
        items: Any = client.watch(**names, **asked, reconnect_s=online.timeout_s)
        try:
            async with aclosing(items):
                async for item in items:
                    printer.item(item)
        except asyncio.CancelledError:  # Ctrl-C
            return
        finally:
            printer.say_where()

    call(online, use)


class _Printer:
    def __init__(self, *, wants_json: bool, with_progress: bool, keys_only: bool) -> None:
        self._wants_json, self._with_progress, self._keys_only = wants_json, with_progress, keys_only
        self._revision = 0

    def item(self, item: ChangeBatch | SnapshotPart) -> None:
        """Prints it, and remembers how far it reaches."""
        if isinstance(item, SnapshotPart):
            for kv in item.pairs:
                self._line("pair", kv.mod_revision, kv.key, kv.value, _pair_facts(kv))
            whole = item.is_last
        else:
            for change in item.changes:
                self._line(change.kind.value, change.revision, change.key, change.value, _change_facts(change))
            whole = True
            if not item.changes and self._with_progress:
                self._progress(item)
        if whole:
            self._revision = max(self._revision, item.revision)

    def say_where(self) -> None:
        """From where to go on."""
        if self._revision:
            say(f"all up to revision {self._revision} is shown; go on with --from-revision {self._revision + 1}")

    def _line(self, kind: str, revision: int, key: bytes, value: bytes | None, facts: dict[str, Any]) -> None:
        value = None if self._keys_only else value
        if self._wants_json:
            fields = {"kind": kind, **bytes_fields("key", key), **bytes_fields("value", value), "revision": revision}
            click.echo(json_text(fields | facts))
        else:
            parts = [str(revision), kind, shown(key)] + ([] if value is None else [shown(value)])
            click.echo("\t".join(parts))

    def _progress(self, mark: ChangeBatch) -> None:
        if self._wants_json:
            facts = {"revision": mark.revision, "token": mark.token, "caught_up": mark.caught_up}
            click.echo(json_text({"kind": "progress", **facts}))
        else:
            click.echo(f"{mark.revision}\tprogress")


def _pair_facts(kv: KeyValue) -> dict[str, Any]:
    return {"create_revision": kv.create_revision, "version": kv.version}


def _change_facts(change: Change) -> dict[str, Any]:
    before = change.previous
    return {
        "position": change.position,
        "create_revision": change.create_revision,
        "version": change.version,
        "time_ms": change.time_ms,
        **bytes_fields("previous_value", None if before is None else before.value),
        "previous_revision": None if before is None else before.mod_revision,
    }
