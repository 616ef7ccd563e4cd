"""`export` and `import` between real clusters: one revision while writers go on, the same pairs on the other side."""

import asyncio
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

import replicator
from replicator.core.export_format import ExportHeader
from replicator.dev import NodePlan
from replicator.model.ids import NodeId
from replicator.model.values import KeyValue
from tests.support.exports import a_pair, exported, read_back
from tests.support.real_nodes import Ended, one_node, run_cli, start_serve, three_regions, until_ready

pytestmark = pytest.mark.process

WAIT_S = 60.0
ODD = {b"a": b"", b"b\xff": b"\x00\xfe", b"c\n": "ü\u2028".encode(), b"k" * 4096: b"\x00" * (1 << 20)}


@contextlib.contextmanager
def running(nodes: tuple[NodePlan, ...]) -> Iterator[str]:
    """Their endpoints."""
    processes = [start_serve(node.config_file, node.log_file) for node in nodes]
    try:
        yield ",".join(node.api for node in nodes)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(WAIT_S)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoints of a cluster of three for all tests here; each uses keys of its own."""
    plan = three_regions(tmp_path_factory.mktemp("old"))
    with running(plan.nodes) as endpoints:
        for node in plan.nodes:
            asyncio.run(until_ready(node))
        yield endpoints


@pytest.fixture
def new(tmp_path: Path) -> Iterator[str]:
    """An empty cluster of one."""
    node = one_node(tmp_path / "new")
    with running((node,)) as endpoints:
        asyncio.run(until_ready(node))
        yield endpoints


async def written(endpoints: str, pairs: dict[bytes, bytes]) -> None:
    async with replicator.connect(endpoints.split(","), timeout_s=30) as client:
        for some in _in_parts(list(pairs.items()), 500):
            await asyncio.gather(*(client.put(key, value) for key, value in some))


async def held(endpoints: str, prefix: bytes = b"") -> dict[bytes, bytes]:
    async with replicator.connect(endpoints.split(","), timeout_s=30) as client:
        pairs = client.scan(prefix=prefix, consistency=replicator.LINEARIZABLE)
        return {kv.key: kv.value async for kv in pairs}


def export(endpoints: str, *flags: str) -> Ended:
    return run_cli("export", "--endpoints", endpoints, "--timeout", "30", *flags)


def import_(endpoints: str, file: Path, *flags: str) -> Ended:
    return run_cli("import", str(file), "--endpoints", endpoints, "--timeout", "30", *flags)


def _in_parts(items: list[tuple[bytes, bytes]], size: int) -> Iterator[list[tuple[bytes, bytes]]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


async def test_all_pairs_arrive_whatever_bytes_they_hold(old: str, new: str, tmp_path: Path) -> None:
    pairs = {b"odd/" + key[: 4096 - 4]: value for key, value in ODD.items()}
    await written(old, pairs)
    file = tmp_path / "odd.jsonl"

    done = export(old, "--prefix", "odd/", "-o", str(file))
    assert (done.code, done.stdout) == (0, "")
    header, exported_pairs = read_back(file.read_bytes())
    assert done.stderr == f"replicator: wrote {file}: pairs={len(pairs)} revision={header.revision}\n"
    assert (header.start, header.end) == (b"odd/", b"odd0")
    assert {kv.key: kv.value for kv in exported_pairs} == pairs

    assert import_(new, file) == Ended(0, f"written={len(pairs)} already_there=0 overwritten=0 skipped=0\n", "")
    assert await held(new) == pairs
    assert import_(new, file).stdout == f"written=0 already_there={len(pairs)} overwritten=0 skipped=0\n"

    assert export(new, "-o", str(tmp_path / "back.jsonl")).code == 0
    _, again = read_back((tmp_path / "back.jsonl").read_bytes())
    assert {kv.key: kv.value for kv in again} == pairs


async def test_a_pipe_between_two_clusters_moves_a_range(old: str, new: str) -> None:
    pairs = {b"range/%03d" % number: b"v%d" % number for number in range(300)}
    await written(old, pairs)
    command = (
        f"set -o pipefail; {sys.executable} -m replicator export --endpoints {old} --start range/010 --end range/200 | "
        f"{sys.executable} -m replicator import - -o json --endpoints {new}"
    )
    done = await asyncio.to_thread(
        subprocess.run, ["bash", "-c", command], capture_output=True, timeout=WAIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == b'{"written": 190, "already_there": 0, "overwritten": 0, "skipped": 0}\n'
    assert await held(new) == {key: value for key, value in pairs.items() if b"range/010" <= key < b"range/200"}


async def test_an_export_shows_one_revision_although_writers_go_on(old: str) -> None:
    """Every write is noted with its revision, so what the store held at the export's revision can be computed.

    The pipe holds a few pages; all further pages are read after every key has been written anew.
    """
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201  # a failing run must be replayable
    dice = random.Random(seed)
    keys = [b"live/%04d" % number for number in range(4000)]
    writes: dict[bytes, list[KeyValue]] = {key: [] for key in keys}

    async with replicator.connect(old.split(","), timeout_s=30) as client:

        async def write(key: bytes) -> None:
            value = dice.randbytes(50)
            done = await client.put(key, value)
            before = writes[key][-1] if writes[key] else None
            created, version = (before.create_revision, before.version + 1) if before else (done.revision, 1)
            writes[key].append(KeyValue(key, value, created, done.revision, version))

        async def write_all() -> None:
            for first in range(0, len(keys), 500):
                await asyncio.gather(*map(write, keys[first : first + 500]))

        await write_all()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "replicator", "export", "--endpoints", old, "--prefix", "live/", "--timeout", "30",
            stdout=asyncio.subprocess.PIPE, limit=1 << 16,
        )  # fmt: skip
        assert process.stdout is not None
        head = await asyncio.wait_for(process.stdout.readline(), WAIT_S)
        await write_all()
        rest = await asyncio.wait_for(process.stdout.read(), WAIT_S)
        assert await process.wait() == 0

    header, pairs = read_back(head + rest)
    at_revision = [[kv for kv in writes[key] if kv.mod_revision <= header.revision][-1] for key in keys]
    assert pairs == at_revision
    assert any(kv != writes[kv.key][-1] for kv in pairs), "no write went on meanwhile: the test proves nothing"


async def test_an_import_that_was_killed_ends_as_if_it_had_run_once(new: str, tmp_path: Path) -> None:
    """Killed when half of its input has arrived, and again at a random moment of the second run."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201  # a failing run must be replayable
    dice = random.Random(seed)
    pairs = [a_pair(b"half/%05d" % number, dice.randbytes(100)) for number in range(20_000)]
    text = exported(ExportHeader("test", 1), pairs)
    file = tmp_path / "half.jsonl"
    file.write_bytes(text)
    command = [sys.executable, "-m", "replicator", "import", "-", "--endpoints", new, "--timeout", "30"]

    async with replicator.connect([new], timeout_s=30) as client:
        process = _started(*command, stdin=subprocess.PIPE)
        assert process.stdin is not None
        await asyncio.to_thread(process.stdin.write, text[: len(text) // 2])
        await asyncio.to_thread(process.stdin.flush)
        await _until_found(client, pairs[5000].key)
        process.kill()
        assert process.wait(WAIT_S) == -signal.SIGKILL
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    found = await held(new)
    assert 5000 <= len(found) < len(pairs)

    with file.open("rb") as stdin:
        process = _started(*command, stdin=stdin)
    with contextlib.suppress(subprocess.TimeoutExpired):
        await asyncio.to_thread(process.wait, dice.uniform(0.5, 3.0))  # it may have ended: that must be right too
    process.kill()
    process.wait(WAIT_S)

    done = import_(new, file, "-o", "json")
    assert done.code == 0, done.stderr
    assert await held(new) == {kv.key: kv.value for kv in pairs}
    async with replicator.connect([new]) as client:
        versions = {kv.version async for kv in client.scan(consistency=replicator.LINEARIZABLE)}
    assert versions == {1}, "a pair was written twice"


async def test_an_import_whose_input_falls_silent_ends_at_ctrl_c_and_says_how_far_it_came(new: str) -> None:
    text = exported(ExportHeader("test", 1), [a_pair(b"k%04d" % number, b"v") for number in range(3000)])
    process = _started(
        sys.executable, "-m", "replicator", "import", "-", "--endpoints", new, stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(text[: len(text) // 2])
    process.stdin.flush()
    async with replicator.connect([new], timeout_s=30) as client:
        await _until_found(client, b"k1000")
    process.send_signal(signal.SIGINT)
    try:
        assert await asyncio.to_thread(process.wait, WAIT_S) == 130  # while stdin stays open
    finally:
        process.kill()
    said = process.stderr.read()
    unchecked, how_far = said.decode().split("\n")[:2]
    assert not said.decode().split("\n", 2)[2].strip(), "nothing but the empty line that ends ^C on a terminal"
    assert "so it is not checked before" in unchecked
    told = re.search(r"stopped after written=(\d+) already_there=0 overwritten=0 skipped=0; run it again", how_far)
    assert told is not None, how_far
    assert 0 < int(told[1]) <= 1500, "of what was sent, as far as it was acknowledged"
    process.stdin.close()
    process.stderr.close()


def _started(*command: str, stdin: int | IO[bytes], stderr: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.DEVNULL, stderr=stderr)


async def _until_found(client: replicator.Client, key: bytes) -> None:
    async with asyncio.timeout(WAIT_S):
        while (await client.get(key, consistency=replicator.LINEARIZABLE)).value is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_damaged_file_writes_nothing(new: str, tmp_path: Path) -> None:
    file = tmp_path / "damaged.jsonl"
    whole = exported(ExportHeader("test", 1), [a_pair(b"k%04d" % number, b"v") for number in range(3000)])
    for damaged in (whole[:-1], whole[: len(whole) // 2], whole.replace(b'"k2999"', b'"k299x"')):
        file.write_bytes(damaged)
        refused = import_(new, file)
        assert (refused.code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
        assert f"{file}: line " in refused.stderr
    assert await held(new) == {}


async def test_a_conflict_stops_is_skipped_or_overwritten_as_asked(new: str, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(exported(ExportHeader("test", 1), [a_pair(b"a", b"1"), a_pair(b"b\xff", b"2")]))
    await written(new, {b"b\xff": b"mine", b"other": b"x"})

    refused = import_(new, file)
    assert (refused.code, refused.stdout) == (1, "")
    how_far, error = refused.stderr.splitlines()
    assert "stopped after written=1 already_there=0 overwritten=0 skipped=0" in how_far
    assert error.startswith("replicator: CONFLICT: key 'b\\\\xff' exists with another value (mod_revision 1), which is")

    assert import_(new, file, "--on-conflict", "skip").stdout == "written=0 already_there=1 overwritten=0 skipped=1\n"
    assert await held(new) == {b"a": b"1", b"b\xff": b"mine", b"other": b"x"}
    done = import_(new, file, "--on-conflict", "overwrite")
    assert done.stdout == "written=0 already_there=1 overwritten=1 skipped=0\n"
    assert await held(new) == {b"a": b"1", b"b\xff": b"2", b"other": b"x"}


async def test_an_import_goes_on_while_the_leader_is_killed(tmp_path: Path) -> None:
    """The SDK retries under the same names, so each pair is written once."""
    plan = three_regions(tmp_path / "cluster")
    pairs = {b"k%05d" % number: b"%d" % number for number in range(10_000)}
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(exported(ExportHeader("test", 1), [a_pair(key, value) for key, value in pairs.items()]))
    processes = {node.id: start_serve(node.config_file, node.log_file) for node in plan.nodes}
    endpoints = ",".join(node.api for node in plan.nodes)
    try:
        for node in plan.nodes:
            await until_ready(node)
        async with replicator.connect(endpoints.split(","), timeout_s=30) as client:
            importing = asyncio.create_task(asyncio.to_thread(import_, endpoints, file))
            await _until_found(client, b"k01000")
            leader = (await client.status()).leader_id
            os.kill(processes[NodeId(leader)].pid, signal.SIGKILL)
            done = await importing
            assert done.code == 0, done.stderr
            found = {kv.key: (kv.value, kv.version) async for kv in client.scan(consistency=replicator.LINEARIZABLE)}
        assert found == {key: (value, 1) for key, value in pairs.items()}
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait(WAIT_S)
