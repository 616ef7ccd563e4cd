"""The `replicator` command: finds the subcommand, runs it, turns its end into an exit code and one line on stderr."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Final, Never

import click

from replicator.cli.exit_codes import CommandFailed, ExitCode, one_line
from replicator.model.errors import ReplicatorError, StartupError

PLUGIN_GROUP: Final = "replicator.commands"
_COMMANDS: Final = {
    "serve": "replicator.cli.serve:serve",
    "dev": "replicator.cli.dev:dev",
    "get": "replicator.cli.read:get",
    "scan": "replicator.cli.read:scan",
    "put": "replicator.cli.write:put",
    "del": "replicator.cli.write:delete",
    "cas": "replicator.cli.write:compare_and_set",
    "txn": "replicator.cli.txn:txn",
    "watch": "replicator.cli.watch:watch",
    "compact": "replicator.cli.compacting_history:compact",
    "status": "replicator.cli.status:status",
    "member": "replicator.cli.member:member",
    "leader": "replicator.cli.leader:leader",
    "token": "replicator.cli.token:token",
    "export": "replicator.cli.export:export",
    "import": "replicator.cli.importing:import_",
    "recover": "replicator.cli.offline:recover",
}


class LazyGroup(click.Group):
    """Imports a command when it is asked for: `get` need not wait for the modules of `dev`."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Own commands first, then those that other packages offer."""
        return [*_COMMANDS, *sorted(set(_plugins()) - set(_COMMANDS))]

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """None if there is no such command."""
        if cmd_name in _COMMANDS:
            module, _, name = _COMMANDS[cmd_name].partition(":")
            command = getattr(importlib.import_module(module), name)
            assert isinstance(command, click.Command), cmd_name
            return command
        plugin = _plugins().get(cmd_name)
        if plugin is None:
            return None
        try:
            loaded = plugin.load()
        except (ImportError, AttributeError) as error:
            return _command_that_cannot_be_loaded(cmd_name, plugin.value, error)
        assert isinstance(loaded, click.Command), f"{plugin.value} is no command"
        return loaded


def _plugins() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {plugin.name: plugin for plugin in entry_points(group=PLUGIN_GROUP)}


def _command_that_cannot_be_loaded(name: str, target: str, error: Exception) -> click.Command:
    problem = f"the command needs {target}, which cannot be loaded ({error}); install the package that brings it"

    def fail(**_: object) -> Never:
        raise CommandFailed(ExitCode.USAGE, name, problem)

    return click.Command(
        name,
        callback=fail,
        short_help="(cannot be loaded)",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from importlib.metadata import version

    click.echo(f"replicator {version('replicator')}")
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def cli() -> None:
    """Multi-region replication: one ordered log, local reads, causal tokens.

    Exit codes: 0 ok, 1 refused or absent, 2 usage, 3 unavailable, 4 outcome of a write unknown.
    """


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code. Nothing that a user can do ends in a traceback."""
    try:
        result = cli.main(args=list(arguments), prog_name="replicator", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ExitCode.USAGE
    except click.UsageError as error:
        return _say(ExitCode.USAGE, _usage(error))
    except click.ClickException as error:
        return _say(ExitCode.USAGE, error.format_message())
    except (CommandFailed, StartupError, ReplicatorError) as error:
        return _say(_code_of(error), str(error))
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has exited (`| head`). Python would report it again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    return result if isinstance(result, int) else ExitCode.OK


def _code_of(error: CommandFailed | StartupError | ReplicatorError) -> ExitCode:
    return error.exit_code if isinstance(error, CommandFailed) else ExitCode.USAGE


def _usage(error: click.UsageError) -> str:
    where = error.ctx.command_path if error.ctx is not None else "replicator"
    return f"usage: {error.format_message().rstrip('.')}; see `{where} --help`"


def _say(code: ExitCode, line: str) -> int:
    click.echo(f"replicator: {one_line(line)}", err=True)
    return code


def main() -> None:
    """Entry point of the package."""
    sys.exit(run(sys.argv[1:]))
