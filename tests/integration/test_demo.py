"""The demonstration end to end, on a shorter timetable: real processes, real faults, a verdict, nothing left behind."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chaos.demo.live import View
from chaos.demo.machine_form import as_json
from chaos.demo.run import HISTORY_FILE, run
from chaos.demo.scenario import Timetable
from chaos.demo.verdict import Outcome
from chaos.history import History
from replicator.client import Client
from replicator.model.values import GetResult

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(175)]

SHORT = Timetable(steady_s=6.0, leaderless_s=6.0, returned_s=5.0, cut_s=10.0, healed_s=5.0)


@dataclass
class QuietScreen:
    """Keeps what it is told."""

    events: list[str] = field(default_factory=list)
    views: list[View] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.events.append(text)

    def phase(self, text: str) -> None:
        self.events.append(text)

    def show(self, view: View) -> None:
        self.views.append(view)


async def test_the_cluster_keeps_every_promise_through_a_bad_minute(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201
    screen = QuietScreen()
    report = await run(tmp_path, seed, screen, SHORT)
    form = as_json(report)

    assert form["verdict"] == "held", json.dumps(form, indent=1)
    assert form["state_hashes_agree"]
    for row in report.figures.regions:
        assert row.writes.p50_s is not None
        assert row.writes.p50_s >= row.least_write_s  # nothing takes a short cut around the lines
    history = History.load(tmp_path / HISTORY_FILE)
    assert len(history.reads()) == form["reads"]["answered"]
    assert {region.role for view in screen.views for region in view.regions} >= {"leader", "follower", "down"}
    assert any(region.is_cut_off for view in screen.views for region in view.regions)


async def test_a_cluster_that_ignores_tokens_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict is worth something only if it can be lost: here no node ever sees the tokens that readers bring."""
    honest = Client.get

    async def forgetful(self: Client, key: bytes, *, token: str | None, timeout_s: float) -> GetResult:
        return await honest(self, key, timeout_s=timeout_s)

    monkeypatch.setattr(Client, "get", forgetful)
    report = await run(tmp_path, 1, QuietScreen(), Timetable(3.0, 1.0, 1.0, 1.0, 1.0))
    assert report.verdict.outcome is Outcome.BROKEN
    broken = {promise.name: promise for promise in report.verdict.promises if promise.breaches}
    assert broken.keys() == {"causal_violations"}
    assert "carried a token" in broken["causal_violations"].evidence[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_takes_its_processes_and_files_with_it(number: signal.Signals, tmp_path: Path) -> None:
    # A shell that runs the tests in the background has SIGINT ignored, and what is ignored stays so in children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    demo = subprocess.Popen(
        [sys.executable, "-m", "replicator", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        deadline_s = time.monotonic() + 60
        while not (pids := node_pids(tmp_path)) or len(pids) < 3:
            assert time.monotonic() < deadline_s
            assert demo.poll() is None
            time.sleep(0.05)
        demo.send_signal(number)
        output, _ = demo.communicate(timeout=30)
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode == 130
    assert "all nodes are gone" in output
    assert "Traceback" not in output
    assert node_pids(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_cannot_run_says_so_and_does_not_blame_a_promise(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    keep = str(tmp_path / "file" / "below")
    done = subprocess.run(
        [sys.executable, "-m", "replicator", "demo", "--json", "--keep", keep],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3
    assert json.loads(done.stdout)["verdict"] == "could_not_run"
    assert "could not run" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_with_something_in_it_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    done = subprocess.run(
        [sys.executable, "-m", "replicator", "demo", "--keep", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "is not empty" in done.stderr


def node_pids(directory: Path) -> list[int]:
    """Processes whose command line names a file below `directory`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"serve" in command and str(directory).encode() in command:
                found.append(int(entry.name))
    return found
