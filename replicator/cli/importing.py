"""`import`: the pairs of an export into a cluster."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from replicator.cli.exit_codes import CommandFailed, ExitCode
from replicator.cli.export_file import ExportFile, opened_export
from replicator.cli.loading import Conflict, Loader, OnConflict
from replicator.cli.online import Online, call, online_options
from replicator.cli.output import print_facts, print_json, say, shown
from replicator.cli.progress_bar import progress
from replicator.cli.read_ahead import read_in_thread

if TYPE_CHECKING:
    from replicator.client import Client

_AGAIN: Final = "pairs that already hold the same value are left unchanged"


@click.command("import")
@click.argument("file", metavar="FILE")
@click.option(
    "--on-conflict",
    type=click.Choice([choice.value for choice in OnConflict]),
    default=OnConflict.FAIL.value,
    show_default=True,
    help="What to do about a key that exists with another value.",
)
@online_options
def import_(file: str, on_conflict: str, online: Online) -> None:
    """Write the pairs of FILE, as `replicator export` wrote them; FILE `-` reads stdin.

    The whole file is checked before anything is written; a pipe cannot be. Pairs that already hold the same value are
    left unchanged, so an import that was cut off can be run again. Other keys are not touched. Exits with 1 at a
    conflict.
    """
    with opened_export(file) as export:
        if export.can_be_checked:
            with progress("check", "bytes", export.size_bytes) as advance:
                export.check(advance)
        else:
            say("this input can be read only once, so it is not checked before: what precedes damage may be written")
        loader = _load(export, OnConflict(on_conflict), online)
    facts = asdict(loader.loaded)
    if online.wants_json:
        print_json(facts)
    else:
        print_facts(facts)


def _load(export: ExportFile, on_conflict: OnConflict, online: Online) -> Loader:
    loaders: list[Loader] = []

    async def use(client: "Client") -> Loader:
        loader = Loader(client, on_conflict, timeout_s=online.timeout_s)
        loaders.append(loader)
        with progress("import", "bytes", export.size_bytes) as advance:
            await loader.load(read_in_thread(export.batches(advance)))
        return loader

    try:
        return call(online, use, retry_hint=_AGAIN)
    except Conflict as error:
        _say_how_far(loaders)
        raise CommandFailed(
            ExitCode.REFUSED,
            "CONFLICT",
            f"key {shown(error.key)!r} exists with another value (mod_revision {error.mod_revision}), which is "
            "unchanged; choose with --on-conflict: skip keeps such values, overwrite replaces them",
        ) from None
    except (CommandFailed, KeyboardInterrupt):
        _say_how_far(loaders)
        raise


def _say_how_far(loaders: list[Loader]) -> None:
    for loader in loaders:
        facts = " ".join(f"{name}={count}" for name, count in asdict(loader.loaded).items())
        say(f"stopped after {facts}; run it again to continue: {_AGAIN}")
