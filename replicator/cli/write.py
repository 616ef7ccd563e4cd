"""`put`, `del` and `cas`."""

import os
import sys
from typing import TYPE_CHECKING, Final

import click

from replicator.cli.exit_codes import CommandFailed, ExitCode
from replicator.cli.online import Online, call, online_options
from replicator.cli.output import JsonValue, bytes_fields, print_facts, print_json, shown
from replicator.model.limits import VALUE_BYTES_MAX
from replicator.model.values import CompareAndSetResult, DeleteResult, PutResult

if TYPE_CHECKING:
    from replicator.client import Client

_PUT_AGAIN: Final = "it sets the same value once more"
_DELETE_AGAIN: Final = "it deletes what is there, or finds nothing"
_CAS_AGAIN: Final = "if this one happened, the next one is refused and shows the value"


@click.command
@click.argument("key")
@click.argument("value")
@online_options
def put(key: str, value: str, online: Online) -> None:
    """Set KEY to VALUE; VALUE `-` reads stdin to its end."""
    data = _value(value)

    async def use(client: "Client") -> PutResult:
        return await client.put(os.fsencode(key), data, timeout_s=online.timeout_s)

    done = call(online, use, retry_hint=_PUT_AGAIN)
    _print(online, {"revision": done.revision, "token": done.token})


@click.command("del")
@click.argument("key")
@online_options
def delete(key: str, online: Online) -> None:
    """Delete KEY. Exits with 1 if it did not exist."""
    unwanted = os.fsencode(key)

    async def use(client: "Client") -> DeleteResult:
        return await client.delete(unwanted, timeout_s=online.timeout_s)

    done = call(online, use, retry_hint=_DELETE_AGAIN)
    _print(online, {"deleted": done.deleted, "revision": done.revision, "token": done.token})
    if not done.deleted:
        raise CommandFailed(ExitCode.REFUSED, "ABSENT", f"key {shown(unwanted)!r} did not exist")


@click.command("cas")
@click.argument("key")
@click.argument("value")
@click.option(
    "--if-revision",
    type=click.IntRange(min=0),
    required=True,
    help="The mod_revision that KEY must have; 0: it must not exist.",
)
@online_options
def compare_and_set(key: str, value: str, if_revision: int, online: Online) -> None:
    """Set KEY to VALUE if it has not changed since --if-revision. Exits with 1 if it has.

    VALUE `-` reads stdin to its end.
    """
    data = _value(value)

    async def use(client: "Client") -> CompareAndSetResult:
        return await client.compare_and_set(os.fsencode(key), data, if_revision=if_revision, timeout_s=online.timeout_s)

    done = call(online, use, retry_hint=_CAS_AGAIN)
    facts: dict[str, JsonValue] = {"succeeded": done.succeeded, "revision": done.revision}
    if online.wants_json:
        facts |= bytes_fields("value", done.value)
    _print(online, facts | {"mod_revision": done.mod_revision, "token": done.token})
    if not done.succeeded:
        found = f"it is at revision {done.mod_revision}" if done.mod_revision else "it does not exist"
        raise CommandFailed(
            ExitCode.REFUSED, "COMPARE_FAILED", f"key {key!r} is not at revision {if_revision}: {found}"
        )


def _value(given: str) -> bytes:
    if given != "-":
        return os.fsencode(given)
    # One byte above the limit is enough for the refusal to be right; a pipe of any size is not read into memory.
    return sys.stdin.buffer.read(VALUE_BYTES_MAX + 1)


def _print(online: Online, facts: dict[str, JsonValue]) -> None:
    if online.wants_json:
        print_json(facts)
    else:
        print_facts(facts)
