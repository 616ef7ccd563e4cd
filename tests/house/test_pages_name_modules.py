"""docs/architecture.md leads to the place for a change: it names each engine module and each sub-room."""

import re
from collections import Counter

from tests.house.source import ROOT, python_files

PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "replicator"

# File names that several rooms may use. Each says the same thing in every room, so the room makes it unique.
CONVENTIONAL = {
    # what many rooms have one of
    "__init__.py": "the front of a package",
    "main.py": "the entry point of a process",
    "settings.py": "what a room is told at start",
    "ports.py": "the protocols that a room asks of others",
    "convert.py": "messages to values and back, on either side of the API",
    "server.py": "the server of one port: gRPC or HTTP",
    # one use case: its values in model/, its logic in service/, its command in cli/
    "read.py": "reads: use case and command",
    "write.py": "writes: use case and command",
    "status.py": "the status of a node: values, use case, command",
    "watch.py": "watches: use case and command",
    "members.py": "the members of a group: values and use case",
    # a value or port of model/, and the place that applies it
    "clock.py": "the port and the machine's clocks",
    "errors.py": "the family and the interceptor that turns it into statuses",
    "limits.py": "the values and the interceptor that bounds calls",
    "deadline.py": "the value and the interceptor that sets it",
    "health.py": "the state of a node and its gRPC service",
}


def test_every_module_of_the_engine_is_in_the_table_with_its_task() -> None:
    rows = dict(re.findall(r"^\| `(engine/[\w/]+\.py)` \| (.+?) \|$", PAGE, re.MULTILINE))
    modules = {
        str(file.relative_to(PACKAGE))
        for file in python_files("replicator")
        if file.relative_to(PACKAGE).parts[0] == "engine" and file.name != "__init__.py"
    }
    assert set(rows) == modules


def test_every_sub_room_is_in_the_row_of_its_room() -> None:
    rows = {
        room: set(re.findall(r"`(\w+)/`", row))
        for room, row in re.findall(r"^\| \d \| `replicator/(\w+)/`[^|]*\| (.*) \|$", PAGE, re.MULTILINE)
    }
    missing = [
        f"{parts[0]}/{parts[1]}"
        for file in python_files("replicator")
        if file.name == "__init__.py"
        and len(parts := file.relative_to(PACKAGE).parts) == 3
        and parts[1] not in rows.get(parts[0], set())
    ]
    assert missing == []


def test_every_file_that_the_page_names_exists() -> None:
    """A path with its room; a bare name is any file of that name."""
    named = set(re.findall(r"`((?:[\w]+/)+[\w]+\.(?:py|proto))`", PAGE))
    missing = [name for name in sorted(named) if not (PACKAGE / name).is_file() and not (ROOT / name).is_file()]
    assert missing == []


def test_a_file_name_is_found_once() -> None:
    """So that a name in a page, a traceback or a talk says which file it is."""
    names = Counter(file.name for file in python_files("replicator"))
    assert [name for name, count in names.items() if count > 1 and name not in CONVENTIONAL] == []
    assert [name for name in CONVENTIONAL if names[name] < 2] == [], "these need no exception any more"


def test_every_room_and_sub_room_says_what_it_is() -> None:
    silent = [
        str(file.relative_to(ROOT))
        for file in python_files("replicator")
        if file.name == "__init__.py" and not file.read_text(encoding="utf-8").startswith('"""')
    ]
    assert silent == []
