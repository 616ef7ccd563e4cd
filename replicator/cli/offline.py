"""Commands on a data directory that no node runs on: `recover`, and what `export --data-dir` says of one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from replicator.cli.exit_codes import ExitCode, one_line
from replicator.cli.output import say
from replicator.model.errors import DataDirectoryError

if TYPE_CHECKING:
    from replicator.config.schema import NodeConfig
    from replicator.storage import OfflineFacts, Recovery


@contextmanager
def unused_directory(data_dir: Path) -> Iterator[None]:
    """Of a node that runs on it, the message says how to ask that."""
    from replicator.storage import DirectoryInUse

    try:
        yield
    except DirectoryInUse as error:
        raise DataDirectoryError(
            f"{data_dir}: in use by process {error.holder}; ask that node: `replicator export "
            "--endpoints HOST:PORT --consistency local`"
        ) from None


def tell_facts(facts: "OfflineFacts") -> None:
    """On stderr: whose data they are, how far they go, what is wrong with them."""
    beyond = max(0, facts.last_index - facts.applied_index)
    term, last_term = ("damaged" if each is None else each for each in (facts.term, facts.last_term))
    say(
        f"node={facts.node_id} cluster={facts.cluster_id} applied_index={facts.applied_index} "
        f"revision={facts.revision} term={term} last_term={last_term}; "
        f"log entries beyond the applied index, not shown: {beyond}"
    )
    for note in facts.notes:
        say(note)


@click.command
@click.option(
    "--config", "config_file", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The node's file."
)
@click.option(
    "--accept-data-loss", is_flag=True, help="Do it. Without this, only say what would be done, and exit with 2."
)
def recover(config_file: Path, accept_data_loss: bool) -> int:
    """Found a new group from this node's data, because a majority of the old one is lost for good.

    The node must not run. It becomes the only voter; the others come back with empty data directories and `serve
    --join`. Writes that were acknowledged and never reached this node are lost. See docs/operating.md first.
    """
    from replicator.config.load import load_config
    from replicator.node.recovery import foresee_recovery, recover_node

    config = load_config(config_file)
    if accept_data_loss:
        _describe(config, recover_node(config), "did")
        click.echo(f"done: start {config.node.id} alone, then the others with empty data directories and --join")
        return ExitCode.OK
    _describe(config, foresee_recovery(config), "would")
    say("nothing was changed; to do this, add --accept-data-loss")
    return ExitCode.USAGE


def _describe(config: "NodeConfig", recovery: "Recovery", tense: str) -> None:
    me, done = config.node.id, tense == "did"
    uncertain = recovery.end_index - recovery.commit_index
    lines = [
        f"node {me} of cluster {config.cluster.id}: {config.node.data_dir}",
        f"held: applied index {recovery.applied_index}, revision {recovery.revision}, {recovery.live_keys} keys; a log "
        f"up to index {recovery.last_index}, of which up to {recovery.commit_index} is known to be committed",
        f"{'applied' if done else 'would apply'}: all entries up to index {recovery.end_index}; {uncertain} of them "
        "are not known to be committed, and count as committed from then on",
    ]
    if recovery.stopped_by is not None:
        dropped = recovery.last_index - recovery.end_index
        lines.append(f"{'dropped' if done else 'would drop'}: {dropped} entries behind that: {recovery.stopped_by}")
    old = f", in place of that of {', '.join(recovery.members)}" if recovery.members else ""
    lines += [
        f"{'founded' if done else 'would found'}: a new group of {me} alone, at index {recovery.founding_index}, term "
        f"{recovery.term}{old}",
        "lost: every write that was acknowledged and never reached this node; nobody can say how many there are",
        "refused from then on: causal tokens and page tokens of the old group; and all other nodes of it: they must "
        "never start with their old data again",
    ]
    if recovery.members and me not in recovery.members:
        lines.append(f"note: {me} was no longer a member of the old group, so others may hold more")
    if recovery.superseded is not None:
        lines.append(f"note: this directory is superseded ({recovery.superseded}): other data may hold more")
    for line in lines:
        click.echo(one_line(line))
