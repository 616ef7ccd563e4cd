"""The engine and the use cases read time from a clock that is handed in: the simulation has one of its own."""

import ast

import pytest

from tests.house.source import ROOT, python_files, tree_of

READS_A_CLOCK = {"time": {"monotonic", "monotonic_ns", "time", "time_ns", "perf_counter", "clock_gettime"}}
DEADLINES = {"Deadline", "after"}  # of a time, and of how the clock is read


def readings(tree: ast.Module) -> list[str]:
    """Each place where a module reads a clock of the machine, or leaves it to a default."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [f"{node.lineno}: import {name.name}" for name in node.names if name.name in READS_A_CLOCK]
        if isinstance(node, ast.ImportFrom) and node.module in READS_A_CLOCK:
            found.append(f"{node.lineno}: from {node.module}")
        if isinstance(node, ast.Call) and _name_of(node.func) in DEADLINES and len(node.args) + len(node.keywords) < 2:
            found.append(f"{node.lineno}: a deadline by the default clock")
    return found


def _name_of(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr if isinstance(function.value, ast.Name) and function.value.id == "Deadline" else ""
    return function.id if isinstance(function, ast.Name) else ""


@pytest.mark.parametrize("room", ["engine", "service", "machine", "core"])
def test_a_room_that_is_simulated_reads_no_clock_of_the_machine(room: str) -> None:
    files = [file for file in python_files("replicator") if file.relative_to(ROOT / "replicator").parts[0] == room]
    assert files
    assert [f"{file.name}:{place}" for file in files for place in readings(tree_of(file))] == []


@pytest.mark.parametrize(
    "source",
    [
        "import time\n",
        "from time import monotonic\n",
        "deadline = Deadline.after(timeout_s)\n",
        "deadline = Deadline(ends_s)\n",
    ],
)
def test_a_reading_is_seen(source: str) -> None:
    assert readings(ast.parse(source))
