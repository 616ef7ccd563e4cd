"""`txn`: a script of compares and operations from stdin, as one transaction."""

import os
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from replicator.cli.exit_codes import CommandFailed, ExitCode
from replicator.cli.online import Online, call, online_options
from replicator.cli.output import print_facts, print_json, shown
from replicator.cli.read import pair_fields
from replicator.cli.txn_script import ScriptFlaw, parse_script
from replicator.model.limits import MESSAGE_BYTES_MAX
from replicator.model.transactions import (
    BranchDone,
    DeleteDone,
    Get,
    GetDone,
    Operation,
    OperationDone,
    PutDone,
    TxnResult,
)
from replicator.model.values import KeyValue

if TYPE_CHECKING:
    from replicator.client import Client

_AGAIN: Final = "if a compare refuses it once it has happened; else read first"


@click.command
@online_options
def txn(online: Online) -> None:
    r"""Run a transaction, whose script is read from stdin. Exits with 1 if a compare does not hold.

    The script has three parts, with an empty line between them: compares, operations if all of them hold, operations if
    not. All happens, or nothing, at one revision. For example:

    \b
      value("stock/lamp") = "1"
      missing("order/7")

    \b
      put order/7 lamp
      del stock/lamp

    \b
      get stock/lamp

    Compares: value, version, create, mod with = != < >; exists, missing. Operations: put KEY VALUE, get KEY [END], del
    KEY [END], with --prefix, --limit N, --keys-only, --count-only, --prev-kv.
    """
    try:
        asked = parse_script(os.fsdecode(sys.stdin.buffer.read(MESSAGE_BYTES_MAX)))
    except ScriptFlaw as flaw:
        raise CommandFailed(ExitCode.USAGE, "script", str(flaw)) from None

    async def use(client: "Client") -> TxnResult:
        return await client.txn(asked.compare, asked.then, asked.or_else, timeout_s=online.timeout_s)

    done = call(online, use, retry_hint=_AGAIN)
    facts: dict[str, Any] = {"succeeded": done.succeeded, "revision": done.revision, "token": done.token}
    operations = asked.then if done.succeeded else asked.or_else
    if online.wants_json:
        results = [_fields(each, op) for each, op in zip(done.results, operations, strict=True)]
        print_json(facts | {"duplicate": done.duplicate, "results": results})
    else:
        print_facts(facts)
        for each, op in zip(done.results, operations, strict=True):
            _print_result(each, op)
    if not done.succeeded:
        raise CommandFailed(ExitCode.REFUSED, "COMPARE_FAILED", "not all compares hold; the third part was run")


def _fields(done: OperationDone, asked: Operation) -> dict[str, Any]:
    match done:
        case PutDone():
            return {"operation": "put", "existed": done.existed, "previous": _pairs(done.previous)}
        case GetDone():
            keys_only = isinstance(asked, Get) and asked.keys_only
            pairs = _pairs(*done.pairs, keys_only=keys_only)
            return {"operation": "get", "kvs": pairs, "count": done.count, "more": done.more}
        case DeleteDone():
            return {"operation": "del", "deleted": done.count, "previous": _pairs(*done.previous)}
        case BranchDone():
            raise AssertionError("a script nests nothing")


def _pairs(*pairs: KeyValue | None, keys_only: bool = False) -> list[Any]:
    return [pair_fields(pair, keys_only) for pair in pairs if pair is not None]


def _print_result(done: OperationDone, asked: Operation) -> None:
    """Pairs as `scan` prints them, else one line."""
    match done:
        case PutDone():
            print_facts({"operation": "put", "existed": done.existed})
            pairs, keys_only = [done.previous] if done.previous else [], False
        case GetDone():
            print_facts({"operation": "get", "count": done.count, "more": done.more})
            pairs, keys_only = list(done.pairs), isinstance(asked, Get) and asked.keys_only
        case DeleteDone():
            print_facts({"operation": "del", "deleted": done.count})
            pairs, keys_only = list(done.previous), False
        case BranchDone():
            raise AssertionError("a script nests nothing")
    for pair in pairs:
        click.echo(shown(pair.key) if keys_only else f"{shown(pair.key)}\t{shown(pair.value)}")
