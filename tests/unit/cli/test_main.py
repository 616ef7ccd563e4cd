"""The command line itself: it starts fast, knows its commands, and never shows a traceback for what a user can do."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint, version

import click
import pytest

from replicator.cli import main as cli_main
from replicator.cli.main import LazyGroup, cli, run


def test_all_commands_of_the_design_are_there() -> None:
    names = cli.list_commands(click.Context(cli))

    assert {
        "serve",
        "dev",
        "demo",
        "get",
        "put",
        "del",
        "cas",
        "scan",
        "status",
        "member",
        "leader",
        "token",
        "export",
        "import",
    } <= set(names)


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"replicator {version('replicator')}\n"


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["serve", "dev", "get", "put", "del", "cas", "scan", "status", "member", "leader", "leader show"]
    names += [
        "export",
        "import",
        "recover",
        "leader transfer",
        *(f"member {verb}" for verb in ("list", "add", "remove", "promote", "demote")),
    ]
    for name in names:
        assert run([*name.split(), "--help"]) == 0
        assert "Usage: replicator " + name in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["gte", "k"], "replicator: usage: No such command 'gte'"),
        (["get"], "replicator: usage: Missing argument 'KEY'; see `replicator get --help`"),
        (["get", "k", "--region"], "replicator: usage: Option '--region' requires an argument"),
        (["cas", "k", "v"], "replicator: usage: Missing option '--if-revision'; see `replicator cas --help`"),
        (["cas", "k", "v", "--if-revision", "-1"], "replicator: usage: Invalid value for '--if-revision': "),
        (["get", "k", "--timeout", "0"], "replicator: usage: Invalid value for '--timeout': "),
        (
            ["get", "k", "--endpoints", "nowhere"],
            "replicator: usage: Invalid value for '--endpoints' (env var: 'REPLICATOR_ENDPOINTS'): 'nowhere' has no",
        ),
        (
            ["get", "k", "--endpoints", ","],
            "replicator: usage: Invalid value for '--endpoints' (env var: 'REPLICATOR_ENDPOINTS'): names no endpoint",
        ),
        (["get", "k", "--consistency", "bounded"], "replicator: usage: --consistency bounded and --max-staleness-ms"),
        (["get", "k", "--max-staleness-ms", "5"], "replicator: usage: --consistency bounded and --max-staleness-ms"),
        (["get", "k", "--cert", __file__], "replicator: --cert: needs --cacert"),
        (["get", "k", "--cacert", __file__, "--key", __file__], "replicator: --cert: and --key belong together"),
        (["serve", "--config", "x", "--observer"], "replicator: usage: --observer and --replace belong to --join"),
        (["serve", "--config", "x", "--replace", "n"], "replicator: usage: --observer and --replace belong to --join"),
        (["member", "add", "n4"], "replicator: usage: Missing option '--region'; see `replicator member add --help`"),
        (["member", "adopt"], "replicator: usage: No such command 'adopt'"),
        (["leader", "transfer", "--to", "n", "--region", "r"], "replicator: usage: --to and --region: give one"),
        (["dev", "--data", "/nonexistent", "--nodes", "99"], "replicator: --nodes: must be from 3"),
        (["dev", "--data", "/nonexistent", "--regions", ""], "replicator: --regions: at least one region"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(line)
    assert said.err.count("\n") == 1


def test_no_command_at_all_shows_the_help_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Exit codes: 0 ok, 1 refused or absent" in said.err


class TestPlugins:
    """Commands that other packages bring."""

    @pytest.fixture(autouse=True)
    def _one_broken_plugin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = EntryPoint("broken", "no_such_package.command:it", cli_main.PLUGIN_GROUP)
        fine = EntryPoint("fine", f"{__name__}:a_plugin", cli_main.PLUGIN_GROUP)
        monkeypatch.setattr(cli_main, "_plugins", lambda: {"broken": broken, "fine": fine})

    def test_a_plugin_runs_like_any_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["fine"]) == 3
        assert capsys.readouterr().out == "fine\n"

    def test_one_that_cannot_be_imported_says_so_whatever_its_arguments(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["broken", "--json", "x"]) == 2
        assert capsys.readouterr().err == (
            "replicator: broken: the command needs no_such_package.command:it, which cannot be loaded "
            "(No module named 'no_such_package'); install the package that brings it\n"
        )

    def test_help_still_lists_everything(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["--help"]) == 0
        listed = capsys.readouterr().out
        assert "broken" in listed
        assert "(cannot be loaded)" in listed


@click.command
def a_plugin() -> int:
    """Prints and returns an exit code."""
    click.echo("fine")
    return 3


def test_an_interrupted_command_ends_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command
    def waits() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LazyGroup, "get_command", lambda *_: waits)

    assert run(["waits"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_the_command_line_starts_without_the_heavy_modules() -> None:
    """What `--version` imports is what every command waits for first."""
    program = (
        "import json, sys\nfrom replicator.cli.main import run\nrun(['--version'])\n"
        "heavy = ['grpc', 'rich', 'pydantic', 'lmdb', 'uvicorn', 'opentelemetry', 'pysyncobj']\n"
        "print(json.dumps([name for name in heavy if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=True)

    assert json.loads(done.stdout.splitlines()[-1]) == []
