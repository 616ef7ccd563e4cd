"""`replicator watch` against a real node: lines as they come, Ctrl-C ends it with 0 and says from where to go on."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from replicator.dev import NodePlan
from tests.support.real_nodes import one_node, run_cli, start_serve, until_ready

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodePlan]:
    planned = one_node(tmp_path_factory.mktemp("cli"))
    process = start_serve(planned.config_file, planned.log_file)
    try:
        asyncio.run(until_ready(planned))
        yield planned
    finally:
        process.terminate()
        process.wait(15)


@pytest.fixture
def environment(node: NodePlan) -> dict[str, str]:
    return {**os.environ, "REPLICATOR_ENDPOINTS": node.api}


class Watching:
    """The command, under way."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        command = [sys.executable, "-m", "replicator", *arguments]
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def lines(self, count: int) -> list[str]:
        assert self.process.stdout is not None
        return [self.process.stdout.readline().rstrip("\n") for _ in range(count)]

    def interrupt(self) -> tuple[int, str]:
        """Exit code and what stderr says."""
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


def test_changes_are_lines_and_ctrl_c_says_from_where_to_go_on(environment: dict[str, str]) -> None:
    revision = json.loads(run_cli("put", "a/1", "one", "-o", "json", environment=environment).stdout)["revision"]
    watching = Watching(environment, "watch", "--prefix", "a/", "--from-revision", str(revision))
    assert watching.lines(1) == [f"{revision}\tput\ta/1\tone"]
    run_cli("del", "a/1", environment=environment)
    assert watching.lines(1) == [f"{revision + 1}\tdelete\ta/1"]
    code, said = watching.interrupt()
    assert code == 0, said
    assert said.strip().endswith(f"go on with --from-revision {revision + 2}")


def test_json_has_every_field(environment: dict[str, str]) -> None:
    run_cli("put", "j", "one", environment=environment)
    watching = Watching(environment, "watch", "j", "--snapshot", "--prev", "-o", "json")
    [pair] = map(json.loads, watching.lines(1))
    assert (pair["kind"], pair["key"], pair["value"]) == ("pair", "j", "one")
    run_cli("put", "j", "two", environment=environment)
    [change] = map(json.loads, watching.lines(1))
    assert (change["kind"], change["value"], change["previous_value"]) == ("put", "two", "one")
    assert change["previous_revision"] == pair["revision"]
    assert (change["version"], change["position"]) == (2, 0)
    assert watching.interrupt()[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("watch",), 2), (("watch", "k", "--prefix", "p"), 2), (("watch", "k", "--from-revision", "0"), 2)],
)
def test_what_makes_no_sense_is_usage(environment: dict[str, str], arguments: tuple[str, ...], code: int) -> None:
    assert run_cli(*arguments, environment=environment).code == code


def test_no_node_is_unavailable(environment: dict[str, str]) -> None:
    nowhere = environment | {"REPLICATOR_ENDPOINTS": "127.0.0.1:1"}
    assert run_cli("watch", "k", "--timeout", "0.5", environment=nowhere).code == 3
