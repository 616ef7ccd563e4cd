"""`replicator export`: what a directory holds can be seen whatever its node may not do any more, and is not touched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import replicator
from replicator.dev import NodePlan
from tests.support.exports import read_back
from tests.support.real_nodes import Ended, one_node, run_cli, start_serve, until_exit, until_ready
from tests.support.tampering import forge_entry, forge_hard_state, mark

pytestmark = pytest.mark.process

PAIRS = {b"a": b"1", b"b\xff": b"\x00\xfe", b"c": "ü\n".encode()}


@pytest.fixture
async def node(tmp_path: Path) -> NodePlan:
    """A node that has run, holds PAIRS and a deleted key, and has ended; with what an export from it was."""
    plan = one_node(tmp_path)
    process = start_serve(plan.config_file, plan.log_file)
    try:
        await until_ready(plan)
        async with replicator.connect([plan.api]) as client:
            await client.put(b"gone", b"x")
            for key, value in PAIRS.items():
                await client.put(key, value)
            await client.delete(b"gone")
        online = run_cli("export", "--endpoints", plan.api, "-o", str(tmp_path / "online"))
        assert online.code == 0, online.stderr
        refused = export(plan)
        assert (refused.code, refused.stdout) == (2, "")
        assert f"in use by process {process.pid}" in refused.stderr
        assert "`replicator export --endpoints HOST:PORT --consistency local`" in refused.stderr
    finally:
        process.terminate()
        assert await until_exit(process) == 0
    return plan


def export(plan: NodePlan, *flags: str) -> Ended:
    return run_cli("export", "--data-dir", str(plan.data_dir), *flags)


def content(plan: NodePlan) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in plan.data_dir.iterdir() if file.is_file()}


def test_it_gives_what_an_online_export_gave_and_says_how_far_that_goes(node: NodePlan, tmp_path: Path) -> None:
    before = content(node)
    shown = export(node)
    assert (shown.code, shown.stdout) == (0, (tmp_path / "online").read_text())
    header, pairs = read_back(shown.stdout.encode())
    assert (header.revision, {kv.key: kv.value for kv in pairs}) == (5, PAIRS)
    (line,) = shown.stderr.splitlines()
    for part in ("node=eu-1", "cluster=dev-", "applied_index=", "revision=5", "term=1", "last_term=1", "not shown: 0"):
        assert part in line
    assert content(node) == before


def test_a_range_of_it_goes_to_a_file(node: NodePlan, tmp_path: Path) -> None:
    file = tmp_path / "range"
    done = export(node, "--start", "b", "--end", "c", "-o", str(file))
    assert (done.code, done.stdout) == (0, "")
    assert done.stderr.endswith(f"replicator: wrote {file}: pairs=1 revision=5\n")
    header, pairs = read_back(file.read_bytes())
    assert (header.start, header.end, [kv.key for kv in pairs]) == (b"b", b"c", [b"b\xff"])
    assert export(node, "--prefix", "c", "-o", str(file)).code == 0
    assert [kv.key for kv in read_back(file.read_bytes())[1]] == [b"c"]


def test_it_shows_a_directory_that_must_not_act_any_more_and_says_what_is_wrong(node: NodePlan, tmp_path: Path) -> None:
    mark(node.data_dir, b"superseded", b"a test\x1b[31m")
    forge_hard_state(node.data_dir, term=2**64 - 2)
    served = run_cli("serve", "--config", str(node.config_file))
    assert served.code == 2
    assert served.stderr.count("\n") == 1
    assert "superseded by another copy or another history (a test\\x1b[31m)" in served.stderr

    shown = export(node)
    assert (shown.code, shown.stdout) == (0, (tmp_path / "online").read_text())
    first, *notes = shown.stderr.splitlines()
    assert f"term={2**64 - 2}" in first
    assert [word in note for word, note in zip(("superseded", "out of range"), notes, strict=True)] == [True, True]


def test_it_says_how_many_entries_of_the_log_it_does_not_show(node: NodePlan) -> None:
    applied = int(export(node).stderr.split("applied_index=")[1].split()[0])
    for number in range(3):
        forge_entry(node.data_dir, applied + 1 + number)
    assert "beyond the applied index, not shown: 3" in export(node).stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_it_needs_no_right_to_write(node: NodePlan, tmp_path: Path) -> None:
    """As on a file system that is mounted to be read only."""
    for file in (node.data_dir, *node.data_dir.rglob("*")):
        file.chmod(0o555)
    for parent in node.data_dir.parents:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(0o755)
    script = (
        "import os, sys; from replicator.cli import export; from replicator.cli.main import run\n"
        "import replicator.storage, encodings.idna\n"
        "os.setgroups([]); os.setgid(4711); os.setuid(4711)\n"
        "sys.exit(run(['export', '--data-dir', sys.argv[1]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(node.data_dir)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, (tmp_path / "online").read_text()), done.stderr
    node.data_dir.chmod(0o500)
    command = [sys.executable, "-c", script, str(node.data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "cannot be read (Permission denied); check its permissions" in done.stderr


def test_what_is_no_data_directory_is_refused_in_one_line_and_none_is_made(node: NodePlan, tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        refused = run_cli("export", "--data-dir", str(path))
        assert (refused.code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
        assert "holds no data.mdb" in refused.stderr
    assert not (tmp_path / "missing").exists()
    (node.data_dir / "data.mdb").write_bytes(b"garbage" * 5000)
    refused = export(node)
    assert (refused.code, refused.stderr.count("\n")) == (2, 1)
    assert "damaged or not written by replicator" in refused.stderr


@pytest.mark.parametrize(
    ("redirection", "problem"),
    [(">/dev/full", "stdout: cannot be written (No space left on device)"), (">&-", "stdout: is closed")],
)
def test_a_stdout_that_takes_nothing_is_said_in_one_line(node: NodePlan, redirection: str, problem: str) -> None:
    command = f"{sys.executable} -m replicator export --data-dir {node.data_dir} {redirection}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    _facts, line = done.stderr.splitlines()
    assert line.startswith(f"replicator: {problem}")


def test_a_reader_that_goes_away_is_no_error(node: NodePlan) -> None:
    command = f"{sys.executable} -m replicator export --data-dir {node.data_dir} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith('{"format": "replicator-export", "version": 1, ')
    assert "Broken" not in done.stderr
