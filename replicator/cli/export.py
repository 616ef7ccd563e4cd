"""`export`: all pairs of one revision, of a running cluster or of a data directory that no node runs on."""

import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource

from replicator.cli.offline import tell_facts, unused_directory
from replicator.cli.online import Online, call, transfer_options
from replicator.cli.output import say
from replicator.cli.progress_bar import progress
from replicator.cli.read import ReadLevel, read_options
from replicator.cli.whole_file import STDOUT, whole_file
from replicator.core.export_format import ExportHeader, ExportWriter
from replicator.model.values import Consistency, prefix_end

if TYPE_CHECKING:
    from replicator.client import Client

_PAIRS_A_STEP: Final = 1000  # of progress, offline
_OFFLINE: Final = frozenset({"data_dir", "prefix", "start", "end", "target"})


@dataclass(frozen=True, slots=True)
class _Job:
    """start, end: keys in [start, end), an empty end meaning no end. target: the file, `-` for stdout."""

    start: bytes
    end: bytes
    target: str

    @property
    def is_shown(self) -> bool:
        """The data themselves go to the terminal."""
        return self.target == STDOUT and sys.stdout.isatty()


@click.command
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, readable=False),  # what is wrong with it is told in our words
    metavar="DIR",
    help="Read the data directory of a node that does not run, instead of asking a cluster.",
)
@click.option("--prefix", default="", help="Only keys that begin with this.")
@click.option("--start", default="", metavar="KEY", help="Only keys from this one on.")
@click.option("--end", default="", metavar="KEY", help="Only keys before this one.")
@click.option(
    "-o",
    "--output",
    "target",
    default=STDOUT,
    show_default=True,
    metavar="FILE",
    help="Where to write; -: stdout. A file appears once it is whole, and is readable by its owner only.",
)
@transfer_options
@functools.partial(read_options, default=Consistency.LINEARIZABLE)
def export(
    *, data_dir: Path | None, prefix: str, start: str, end: str, target: str, level: ReadLevel, online: Online
) -> None:
    """Write all pairs, as they are at one revision, as JSON Lines that `replicator import` reads.

    Writers need not wait. With --data-dir, only reads, and asks no cluster: for a directory that must not act again, or
    cannot; stderr shows how far its data go.
    """
    job = _job(prefix, start, end, target)
    if data_dir is None:
        _export_online(job, level, online)
        return
    given = click.get_current_context()
    for name in given.params:
        if name not in _OFFLINE and given.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError("--data-dir asks no cluster: leave out the options that say how to ask one")
    _export_offline(job, data_dir)


def _job(prefix: str, start: str, end: str, target: str) -> _Job:
    if prefix and (start or end):
        raise click.UsageError("--prefix, or --start and --end, not both")
    if not target:
        raise click.UsageError("-o names no file; -: stdout")
    if target in ("text", "json"):  # forms of results everywhere else; hardly the name of a file
        raise click.UsageError(f"-o names a file here; for one with that name: -o ./{target}")
    if prefix:
        return _Job(os.fsencode(prefix), prefix_end(os.fsencode(prefix)), target)
    if end and os.fsencode(start) >= os.fsencode(end):
        raise click.UsageError("--end must be greater than --start")
    return _Job(os.fsencode(start), os.fsencode(end), target)


def _export_online(job: _Job, level: ReadLevel, online: Online) -> None:
    async def use(client: "Client") -> ExportWriter:
        status = await client.status(timeout_s=online.timeout_s)
        pages = client.scan_pages(
            start=job.start,
            end=job.end,
            token=level.token,
            consistency=level.consistency,
            max_staleness_ms=level.max_staleness_ms,
            timeout_s=online.timeout_s,
        )
        total = None if job.start or job.end else status.live_keys
        writer = None
        with whole_file(job.target) as file, progress("export", "pairs", total, quiet=job.is_shown) as advance:
            async for page in pages:
                if writer is None:
                    writer = ExportWriter(ExportHeader(status.cluster_id, page.revision, job.start, job.end))
                    file.write(writer.begin())
                for kv in page.pairs:
                    file.write(writer.pair(kv))
                advance(len(page.pairs))
            assert writer is not None, "a scan has a page"
            file.write(writer.end())
        return writer

    writer = call(online, use)
    _say_done(job, writer)


def _export_offline(job: _Job, data_dir: Path) -> None:
    from replicator.storage import opened_offline

    with unused_directory(data_dir), opened_offline(data_dir) as store:
        facts = store.facts()
        tell_facts(facts)
        writer = ExportWriter(ExportHeader(facts.cluster_id, facts.revision, job.start, job.end))
        total = None if job.start or job.end else facts.live_keys
        with whole_file(job.target) as file, progress("export", "pairs", total, quiet=job.is_shown) as advance:
            file.write(writer.begin())
            for kv in store.pairs():
                if job.end and kv.key >= job.end:
                    break
                if kv.key < job.start:
                    continue
                file.write(writer.pair(kv))
                if writer.count % _PAIRS_A_STEP == 0:
                    advance(_PAIRS_A_STEP)
            file.write(writer.end())
    _say_done(job, writer)


def _say_done(job: _Job, writer: ExportWriter) -> None:
    if job.target != STDOUT:
        say(f"wrote {job.target}: pairs={writer.count} revision={writer.header.revision}")
