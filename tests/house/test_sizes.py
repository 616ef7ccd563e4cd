"""Files and functions stay small enough to hold in one's head. A ratchet: the limits only ever go down."""

import ast

from tests.house.source import PACKAGES, ROOT, python_files, tree_of

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
BANNED_MODULES = {"utils", "util", "helpers", "common", "manager", "misc"}


def test_no_file_outgrows_one_idea() -> None:
    sizes = {
        str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines())
        for package in PACKAGES
        for file in python_files(package)
    }
    assert {name: size for name, size in sizes.items() if size > FILE_LINES_MAX} == {}


def test_no_function_outgrows_a_screen() -> None:
    too_long = [
        f"{file.relative_to(ROOT)}:{node.lineno} {node.name}: {(node.end_lineno or 0) - node.lineno + 1} lines"
        for package in PACKAGES
        for file in python_files(package)
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert too_long == []


def test_every_module_says_why_it_exists() -> None:
    """Fronts that only re-export may be silent."""
    silent = [
        str(file.relative_to(ROOT))
        for package in ("replicator", "chaos", "benchmarks")
        for file in python_files(package)
        if file.name != "__init__.py" and ast.get_docstring(tree_of(file)) is None
    ]
    assert silent == []


def test_no_room_is_a_kitchen_sink() -> None:
    named = [str(file.relative_to(ROOT)) for package in PACKAGES for file in python_files(package)
             if file.stem in BANNED_MODULES]  # fmt: skip
    assert named == []


def test_assertions_are_never_switched_off() -> None:
    """The engine and the guard assert invariants; `-O` would drop them."""
    assert __debug__
    for file in (ROOT / "Makefile", ROOT / ".ci/run"):
        assert " -O" not in file.read_text(encoding="utf-8")
