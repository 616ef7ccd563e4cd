"""The layout of docs/architecture.md, held by a test so that it cannot rot in silence."""

import re

import pytest

from tests.house.source import ROOT, Import, imports_of, python_files

RANK = {
    "model": 1, "v1": 1, "config": 2, "core": 2, "certificates": 2, "machine": 3,
    "storage": 4, "transport": 4, "telemetry": 4, "engine": 5, "service": 6, "api": 7, "client": 7, "console": 7,
    "node": 8, "dev": 8, "cli": 9,
}  # fmt: skip
CLIENT_MAY_IMPORT = {"model", "v1", "client", "certificates"}  # a library: no server behind it
CHAOS_MAY_IMPORT = {"client", "model", "dev"}
SIMULATION_MAY_IMPORT = {"service", "engine", "machine", "storage", "transport", "config", "core", "model", "v1"}
BENCHMARKS_MAY_IMPORT = {"client", "model", "v1", "dev", "machine", "storage", "transport", "config"}
ONLY_ROOM = {
    "pysyncobj": {"engine"},
    "lmdb": {"storage"},
    "opentelemetry.sdk": {"telemetry"},
    "opentelemetry.exporter": {"telemetry"},
    "prometheus_client": {"telemetry"},
    "cryptography": {"certificates"},
    "zstandard": {"transport"},
    "pydantic": {"config"},
    "starlette": {"console"},
    "uvicorn": {"console"},
    "uvloop": {"node"},
    "click": {"cli"},
    "rich": {"cli"},
}


def room_of(dotted: str) -> str | None:
    """The room of `replicator.room.module`; None for anything else."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "replicator" and len(parts) > 1 and parts[1] in RANK else None


def rooms_imported(package: str) -> list[tuple[str, Import]]:
    """(importing file's second path part, import) for every import of a room."""
    return [
        (parts[1] if len(parts) > 2 else "", item)
        for file in python_files(package)
        for item in imports_of(file)
        if (parts := file.relative_to(ROOT).parts) and item.module.split(".")[0] == "replicator"
    ]


def test_imports_only_point_down_the_house() -> None:
    """A room may import lower ranks only, so no cycle can form."""
    uphill = [
        f"{item.file}:{item.line}: {room} ({RANK[room]}) -> {target} ({RANK[target]})"
        for room, item in rooms_imported("replicator")
        if room in RANK and (target := room_of(item.module)) and target != room and RANK[target] >= RANK[room]
    ]
    assert uphill == []


def test_every_room_has_a_rank_and_stands_in_the_architecture() -> None:
    rooms = {path.name for path in (ROOT / "replicator").iterdir() if path.is_dir() and path.name != "__pycache__"}
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = dict.fromkeys(rooms, 0)
    for rank, row in re.findall(r"^\| (\d) \| (.*?) \|", page, re.MULTILINE):
        for room in re.findall(r"`replicator/(\w+)/`", row):
            rows[room] = int(rank)
    assert rows == RANK


def test_the_client_knows_only_values_and_stubs() -> None:
    """Chaos and users hold the same thing, and it drags no server along."""
    strange = [item for room, item in rooms_imported("replicator") if room == "client"
               and room_of(item.module) not in CLIENT_MAY_IMPORT]  # fmt: skip
    assert strange == []


@pytest.mark.parametrize(("package", "allowed"), [("chaos", CHAOS_MAY_IMPORT), ("benchmarks", BENCHMARKS_MAY_IMPORT)])
def test_outsiders_stand_outside(package: str, allowed: set[str]) -> None:
    """The harness is a user; only its simulation drives engine and storage directly, in place of the transport."""
    strange = []
    for room, item in rooms_imported(package):
        target = room_of(item.module)
        may = SIMULATION_MAY_IMPORT if room == "simulation" else allowed
        if target is not None and target not in may:
            strange.append(f"{item.file}:{item.line}: {item.module}")
    assert strange == []


@pytest.mark.parametrize(("library", "rooms"), ONLY_ROOM.items())
def test_a_library_lives_in_one_room(library: str, rooms: set[str]) -> None:
    """One room to change when a dependency changes."""
    elsewhere = [
        f"{item.file}:{item.line}"
        for file in python_files("replicator")
        for item in imports_of(file)
        if (item.module == library or item.module.startswith(library + "."))
        and file.relative_to(ROOT).parts[1] not in rooms
    ]
    assert elsewhere == []


def test_nothing_imports_tests() -> None:
    strange = [
        f"{item.file}:{item.line}"
        for package in ("replicator", "chaos", "benchmarks")
        for file in python_files(package)
        for item in imports_of(file)
        if item.module.split(".")[0] == "tests"
    ]
    assert strange == []
