"""Runs what a page shows: files are written, commands are run in one shell a page, and their output is compared.

Numbers, tokens, names of nodes and roles differ from run to run; everything else must be as printed.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.docs.pages import ROOT, Block

WAIT_S = 90.0
_SENTINEL = "\x1e"


@dataclass(frozen=True)
class Step:
    """One command and what the page says that it prints. A script shows nothing; it must succeed."""

    command: str
    shown: str
    is_script: bool = False


def steps(block: Block) -> list[Step]:
    """Of a console block: lines after `$ ` are commands. A shell block is one script."""
    if block.language == "sh":
        return [Step(f"(set -e\n{block.text})\necho exit code $?", "exit code 0", is_script=True)]
    assert block.language == "console", block
    found: list[Step] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(Step(line[2:], ""))
        else:
            found[-1] = Step(found[-1].command, f"{found[-1].shown}{line}\n")
    return found


def normalised(text: str) -> list[str]:
    """What two runs have in common, line by line."""
    text = re.sub(r"\S*/tour/", "tour/", text)
    text = re.sub(r"(?<![\w-])A[\w-]{43}(?![\w-])", "TOKEN", text)
    text = re.sub(r"\b(eu|us|ap)-1\b", "NODE", text)
    text = re.sub(r"\b(follower|leader|candidate)\b(?! *=)", "ROLE", text)
    text = re.sub(r"\b(eu|us|ap)\b", "REGION", text)
    text = re.sub(r"\d+(\.\d+)?", "#", text)
    text = text.replace("# ms", "#").replace("*", " ").replace(" - ", " # ")
    lines = (re.sub(r"[\s─]+", " ", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


class Shell:
    """One shell a page: what a block sets, the next one sees. Everything that it started ends with it."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._directory = directory
        self._environment = environment
        self._steps: list[Step] = []

    def take(self, blocks: Iterable[Block]) -> Self:
        """Files are written now, commands are queued."""
        for block in blocks:
            kind, _, argument = block.mark.partition(": ")[2].partition(" ")
            if kind == "file":
                (self._directory / argument).write_text(block.text)
            elif kind == "shell":
                self._steps += steps(block)
            else:
                raise AssertionError(f"{block.page}:{block.line}: what is {block.mark!r}?")
        return self

    def run(self) -> None:
        """Runs all commands, then compares each one's output with the page."""
        lines = [f"printf '{_SENTINEL}'\n{step.command}" for step in self._steps]
        output = self._directory / "transcript.txt"
        with output.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", "\n".join(lines)],
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                process.wait(WAIT_S)
            finally:
                _end_group(process)
        said = output.read_text(errors="replace").split(_SENTINEL)[1:]
        assert len(said) == len(self._steps), f"the shell stopped after {said[-1:]}"
        for step, text in zip(self._steps, said, strict=True):
            if step.is_script:
                assert text.splitlines()[-1] == step.shown, f"{step.command}\n{text}"
            else:
                assert normalised(text) == normalised(step.shown), f"$ {step.command}\n{text}"


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """The shell and what it left in the background, which is in the shell's own process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def shell_environment() -> dict[str, str]:
    """As in an activated environment; tables are as wide as in the pages."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "NO_COLOR": "1", "COLUMNS": "100"}


@contextmanager
def dev_cluster(directory: Path, command: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Runs a `replicator dev` command; gives what it printed, and an environment with its `export` line obeyed."""
    environment = shell_environment()
    output = directory / "dev.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline_s = time.monotonic() + WAIT_S
        while "Ctrl-C stops all nodes" not in (printed := output.read_text()):
            assert process.poll() is None, printed
            assert time.monotonic() < deadline_s, printed
            time.sleep(0.05)
        name, _, value = next(line for line in printed.splitlines() if line.startswith("export "))[7:].partition("=")
        yield printed, {**environment, name: value}
    finally:
        process.terminate()
        process.wait(WAIT_S)


def link_environment(directory: Path) -> None:
    """`.venv` in `directory`, as after `make demo` in the root of a clone."""
    assert (Path(sys.prefix) / "bin/activate").is_file(), f"{sys.prefix} is no virtual environment ({ROOT})"
    (directory / ".venv").symlink_to(sys.prefix)
