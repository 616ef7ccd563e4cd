"""What the house tests look at: the project's own files, without generated ones."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("replicator", "chaos", "benchmarks", "tests")


class Import(NamedTuple):
    """One import statement: who imports what, as dotted names."""

    file: str
    line: int
    module: str


@cache
def python_files(package: str) -> tuple[Path, ...]:
    files = (ROOT / package).rglob("*.py")
    return tuple(sorted(file for file in files if "v1" not in file.relative_to(ROOT).parts))


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def imports_of(file: Path) -> Iterator[Import]:
    """Every import of a file, inside functions too."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(str(file.relative_to(ROOT)), node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports are absolute"
            yield Import(str(file.relative_to(ROOT)), node.lineno, node.module or "")
