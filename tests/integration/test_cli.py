"""Online commands against a real node, and `dev` with real processes: stdout is data, stderr is talk."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replicator.dev import NodePlan, free_ports
from tests.support.real_nodes import (
    Ended,
    one_node,
    run_cli,
    start_serve,
    three_regions,
    until,
    until_exit,
    until_ready,
)

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodePlan]:
    """One node for all tests here; each uses keys of its own."""
    planned = one_node(tmp_path_factory.mktemp("cli"))
    process = start_serve(planned.config_file, planned.log_file)
    try:
        asyncio.run(until_ready(planned))
        yield planned
    finally:
        process.terminate()
        process.wait(15)


@pytest.fixture
def cli(node: NodePlan) -> "Cli":
    return Cli(node.api)


class Cli:
    """Runs commands against one node, found through the environment."""

    def __init__(self, endpoints: str) -> None:
        self.environment = {**os.environ, "REPLICATOR_ENDPOINTS": endpoints}

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Ended:
        return run_cli(*arguments, environment=self.environment, stdin=stdin)

    def json(self, *arguments: str) -> Any:
        """What the command prints with `-o json`, whatever its exit code."""
        return json.loads(self(*arguments, "-o", "json").stdout)


def test_a_value_goes_in_and_comes_out(cli: Cli) -> None:
    put = cli("put", "in-out", "v")
    assert (put.code, put.stderr) == (0, "")
    assert put.stdout.startswith("revision=")

    assert cli("get", "in-out") == Ended(0, "v\n", "")


def test_json_of_put_and_get_carries_every_field(cli: Cli) -> None:
    put = cli.json("put", "fields", "v")
    got = cli.json("get", "fields", "--token", put["token"])

    assert set(put) == {"revision", "token"}
    assert set(got) == {
        "found", "key", "key_base64", "value", "value_base64", "mod_revision", "create_revision", "version", "revision",
        "token", "staleness_ms", "node_id", "region",
    }  # fmt: skip
    assert (got["found"], got["value"], got["value_base64"]) == (True, "v", None)
    assert got["mod_revision"] == put["revision"]
    assert (got["node_id"], got["region"]) == ("eu-1", "eu")


def test_an_absent_key_is_exit_code_1_and_complete_json(cli: Cli) -> None:
    assert cli("get", "nowhere") == Ended(1, "", "replicator: ABSENT: key 'nowhere' does not exist\n")

    got = cli.json("get", "nowhere")
    assert (got["found"], got["value"], got["mod_revision"]) == (False, None, 0)

    assert cli("del", "nowhere").code == 1
    assert cli.json("del", "nowhere")["deleted"] is False


def test_compare_and_set_wins_once(cli: Cli) -> None:
    created = cli.json("cas", "race", "1", "--if-revision", "0")
    assert created["succeeded"] is True
    assert created["mod_revision"] == created["revision"] == cli.json("get", "race")["mod_revision"]

    lost = cli("cas", "race", "2", "--if-revision", "0")
    assert lost.code == 1
    assert lost.stderr == (
        f"replicator: COMPARE_FAILED: key 'race' is not at revision 0: it is at revision {created['revision']}\n"
    )
    facts = cli.json("cas", "race", "2", "--if-revision", "0")
    assert (facts["succeeded"], facts["value"], facts["mod_revision"]) == (False, "1", created["revision"])

    assert cli("cas", "race", "2", "--if-revision", str(created["revision"])).code == 0
    assert cli("cas", "nothing-here", "2", "--if-revision", "7").stderr.endswith("it does not exist\n")


def test_a_transaction_is_a_script(cli: Cli) -> None:
    script = (
        b'missing("txn/1")\n\nput txn/1 "a b" --prev-kv\nget txn/ --prefix --keys-only\n\ndel txn/ --prefix --prev-kv\n'
    )
    first = cli("txn", stdin=script)
    assert (first.code, first.stderr) == (0, "")
    assert first.stdout.splitlines()[1:] == ["operation=put existed=false", "operation=get count=1 more=false", "txn/1"]

    second = cli("txn", "-o", "json", stdin=script)
    assert second.code == 1
    assert second.stderr == "replicator: COMPARE_FAILED: not all compares hold; the third part was run\n"
    facts = json.loads(second.stdout)
    assert set(facts) == {"succeeded", "revision", "token", "duplicate", "results"}
    [deleted] = facts["results"]
    assert (deleted["operation"], deleted["deleted"], deleted["previous"][0]["value"]) == ("del", 1, "a b")

    assert cli("txn", stdin=b"value(a)").code == 2
    refused = cli("txn", stdin=b"\nput k 1\nput k 2\n")
    assert refused.code == 1
    assert refused.stderr.startswith("replicator: INVALID_ARGUMENT: then[1].put.key is a duplicate")


def test_values_of_any_bytes_travel_through_stdin_and_raw_output(cli: Cli) -> None:
    value = bytes(range(256))

    assert cli("put", "bytes", "-", stdin=value).code == 0

    got = subprocess.run(
        [sys.executable, "-m", "replicator", "get", "bytes", "--raw"],
        capture_output=True,
        env=cli.environment,
        timeout=30,
        check=True,
    )
    assert got.stdout == value
    assert cli.json("get", "bytes")["value"] is None


def test_scan_lists_a_prefix_in_key_order(cli: Cli) -> None:
    for key in ("cart/2", "cart/1", "cart/3", "carton"):
        cli("put", key, f"value of {key}")

    assert cli("scan", "cart/").stdout == "cart/1\tvalue of cart/1\ncart/2\tvalue of cart/2\ncart/3\tvalue of cart/3\n"
    assert cli("scan", "cart/", "--keys-only").stdout == "cart/1\ncart/2\ncart/3\n"

    cut = cli("scan", "cart/", "--limit", "2")
    assert cut.stdout.count("\n") == 2
    assert "there are more" in cut.stderr
    assert cli("scan", "cart/", "--limit", "3").stderr == ""

    document = cli.json("scan", "cart/", "--limit", "2")
    assert [pair["key"] for pair in document["kvs"]] == ["cart/1", "cart/2"]
    assert (document["count"], document["truncated"]) == (2, True)
    assert cli.json("scan", "no-such-prefix") == {"kvs": [], "count": 0, "truncated": False}


def test_each_consistency_level_reads(cli: Cli) -> None:
    cli("put", "level", "v")

    for level in ("linearizable", "causal", "local"):
        assert cli("get", "level", "--consistency", level).stdout == "v\n"
    bounded = cli("get", "level", "--consistency", "bounded", "--max-staleness-ms", "5000")
    assert bounded.stdout == "v\n"


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (("put", "", "v"), "replicator: INVALID_ARGUMENT: key is empty"),
        (("put", "k" * 4097, "v"), "replicator: INVALID_ARGUMENT: key has 4097 bytes, the limit is 4096"),
        (("get", "k", "--token", "not a token"), "replicator: INVALID_TOKEN: "),
    ],
)
def test_a_request_that_can_never_succeed_is_refused(cli: Cli, arguments: tuple[str, ...], start: str) -> None:
    ended = cli(*arguments)

    assert (ended.code, ended.stdout) == (1, "")
    assert ended.stderr.startswith(start)
    assert ended.stderr.count("\n") == 1


def test_an_oversized_value_on_stdin_is_refused_without_reading_it_all(cli: Cli) -> None:
    ended = cli("put", "big", "-", stdin=b"x" * (4 << 20))

    assert ended.code == 1
    assert "INVALID_ARGUMENT: value has 1048577 bytes, the limit is 1048576" in ended.stderr


def test_nobody_there_is_exit_code_3(cli: Cli) -> None:
    (port,) = free_ports(1)
    nowhere = ("--endpoints", f"127.0.0.1:{port}", "--timeout", "1")

    for arguments in (("get", "k"), ("put", "k", "v"), ("scan",), ("status",)):
        ended = cli(*arguments, *nowhere)
        assert ended.code == 3, ended
        assert ended.stderr.startswith("replicator: ")
        assert ended.stderr.count("\n") == 1


def test_a_server_that_accepts_and_says_nothing_is_given_up_on(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ended = cli("get", "k", "--endpoints", f"127.0.0.1:{silent.getsockname()[1]}", "--timeout", "1")

    assert ended.code == 3, ended
    assert ended.stderr.count("\n") == 1


async def test_a_write_without_a_majority_is_refused_as_unavailable(tmp_path: Path) -> None:
    lone = three_regions(tmp_path).nodes[0]
    process = start_serve(lone.config_file, lone.log_file)
    try:
        await until(lambda: " serving " in lone.log_file.read_text(), "serving")
        for _ in range(10):
            ended = await asyncio.to_thread(run_cli, "put", "k", "v", "--endpoints", lone.api, "--timeout", "2")
            if ended.code != 4:  # the time was over before a busy node could answer the last attempt
                break
        assert ended.code == 3, ended
        assert ended.stderr.count("\n") == 1
    finally:
        process.terminate()
        await until_exit(process)


def test_status_marks_the_leader_and_never_wraps_when_piped(cli: Cli) -> None:
    table = cli("status").stdout

    (row,) = [line for line in table.splitlines() if "eu-1" in line]
    assert row.split()[:4] == ["*", "eu-1", "eu", "leader"]
    assert "\x1b" not in table

    facts = cli.json("status", "--state-hash")
    assert facts["leader"] == "eu-1"
    assert facts["unreachable"] == []
    (only,) = facts["nodes"]
    assert only["role"] == "leader"
    assert only["state_hash"]
    assert only["lag_entries"] == 0
    assert only["read_only_reason"] == ""


def test_an_output_that_nobody_reads_any_more_is_no_error(cli: Cli, node: NodePlan) -> None:
    for number in range(3):
        cli("put", f"pipe/{number}", "x" * 60_000)
    pipeline = f"{sys.executable} -m replicator scan pipe/ --endpoints {node.api} | head -c 1"

    done = subprocess.run(["sh", "-c", pipeline], capture_output=True, timeout=30, check=False)

    assert done.stdout == b"p"
    assert done.stderr == b""


class Dev:
    """`replicator dev` in the background."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self._out, self._err = directory.with_suffix(".out"), directory.with_suffix(".err")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "replicator", "dev", "--data", str(directory), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()


def commands_running() -> list[str]:
    """The command line of every process."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            lines.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return lines


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_dev_does_not_advise_to_bring_back_a_member_that_was_removed(tmp_path: Path) -> None:
    dev = Dev(tmp_path / "dev", "--json")
    try:
        await until(lambda: dev.out.endswith("\n"), "the line of JSON")
        facts = json.loads(dev.out)
        victim, *others = (node for node in facts["nodes"] if node["id"] != facts["leader"])
        endpoints = ",".join(node["endpoint"] for node in facts["nodes"] if node is not victim)
        removed = await asyncio.to_thread(
            run_cli, "member", "remove", victim["id"], "--endpoints", endpoints, "--timeout", "20"
        )
        assert removed.code == 0, removed

        os.kill(victim["pid"], signal.SIGTERM)
        await until(lambda: "not restarted" in dev.err, "word of the death")

        assert "It is no longer a member (membership of index " in dev.err
        assert "To restart it" not in dev.err
        assert f"move {victim['data_dir']} away first" in dev.err

        dev.process.send_signal(signal.SIGTERM)
        assert await until_exit(dev.process) == 0
        assert not any(is_running(node["pid"]) for node in others)
    finally:
        dev.process.kill()
        await until_exit(dev.process)


async def test_dev_prints_one_line_of_json_says_who_died_and_stops_all_the_rest(tmp_path: Path) -> None:
    dev = Dev(tmp_path / "dev", "--nodes", "3", "--regions", "eu,us,ap", "--json")
    try:
        await until(lambda: dev.out.endswith("\n"), "the line of JSON")
        facts = json.loads(dev.out)
        assert set(facts) == {"nodes", "leader"}
        assert [node["region"] for node in facts["nodes"]] == ["eu", "us", "ap"]
        assert set(facts["nodes"][0]) == {"id", "region", "endpoint", "admin", "pid", "data_dir", "config"}
        assert facts["leader"] in {node["id"] for node in facts["nodes"]}

        victim, *others = facts["nodes"]
        os.kill(victim["pid"], signal.SIGKILL)
        await until(lambda: "not restarted" in dev.err, "word of the death")
        assert f"node {victim['id']} (pid {victim['pid']}) ended with code -9" in dev.err
        assert f"replicator serve --config {victim['config']}" in dev.err
        endpoints = ",".join(node["endpoint"] for node in others)
        put = await asyncio.to_thread(run_cli, "put", "k", "v", "--endpoints", endpoints, "--timeout", "20")
        assert put.code == 0, put

        dev.process.send_signal(signal.SIGTERM)
        assert await until_exit(dev.process) == 0
        assert not any(is_running(node["pid"]) for node in others)
        assert dev.out.count("\n") == 1
    finally:
        dev.process.terminate()
        await until_exit(dev.process)


async def test_dev_shows_people_a_table_and_the_next_command(tmp_path: Path) -> None:
    dev = Dev(tmp_path / "dev", "--regions", "eu")
    try:
        await until(lambda: "Ctrl-C" in dev.out, "the table")
        assert "export REPLICATOR_ENDPOINTS=127.0.0.1:" in dev.out
        assert "eu-1" in dev.out
        dev.process.send_signal(signal.SIGINT)
        assert await until_exit(dev.process) == 0
        assert "Traceback" not in dev.err
    finally:
        dev.process.terminate()
        await until_exit(dev.process)


async def test_dev_that_cannot_start_ends_with_one_line_and_no_process_left(tmp_path: Path) -> None:
    one_node(tmp_path)
    (tmp_path / "eu-1" / "data").write_text("a file in the way of the data")

    ended = await asyncio.to_thread(run_cli, "dev", "--data", str(tmp_path), "--regions", "eu", "--json")

    assert ended.code == 2, ended
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert "node eu-1 ended with code 2" in ended.stderr
    assert "node.data_dir" in ended.stderr


async def test_dev_interrupted_while_it_starts_leaves_nothing_running(tmp_path: Path) -> None:
    dev = Dev(tmp_path / "dev", "--json")
    try:
        await until(lambda: len(list((tmp_path / "dev").glob("*/node.log"))) == 3, "three processes")
        dev.process.send_signal(signal.SIGINT)
        assert await until_exit(dev.process) in (0, 130)
        assert "Traceback" not in dev.err
        assert not [command for command in commands_running() if str(tmp_path) in command]
    finally:
        dev.process.kill()
        await until_exit(dev.process)
