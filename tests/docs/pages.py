"""Pages as tests see them: fenced blocks with the comment before each, tables, links, headings."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- (.+?) -->\n\Z")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """mark: the text of the HTML comment right before the fence, empty if there is none."""

    page: str
    line: int
    language: str
    mark: str
    text: str


@cache
def pages() -> tuple[Path, ...]:
    """All Markdown files that belong to the project."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return tuple(sorted(ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str) -> Iterator[Block]:
    """All fenced blocks of a page, in order."""
    text = read(name)
    for found in _FENCE.finditer(text):
        mark = _MARK.search(text, 0, found.start())
        line = text.count("\n", 0, found.start()) + 1
        yield Block(name, line, found[1], mark[1] if mark else "", found[2])


def table(name: str, first_column: str) -> list[list[str]]:
    """Cells of the one table whose heading begins with `first_column`; backticks are kept."""
    rows: list[list[str]] = []
    inside = False
    for line in read(name).splitlines():
        if line.startswith(f"| {first_column} |"):
            assert not rows, f"{name} has two tables that begin with {first_column!r}"
            inside = True
        elif inside and not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("| ---"):
            rows.append([cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    assert rows, f"{name} has no table that begins with {first_column!r}"
    return rows


def code(cell: str) -> str:
    """The text of a cell that is one piece of code."""
    assert cell.startswith("`"), cell
    assert cell.endswith("`"), cell
    return cell.strip("`")


def links(name: str) -> set[str]:
    """Targets of all links outside fences."""
    return set(_LINK.findall(_FENCE.sub("", read(name))))


def anchors(name: str) -> set[str]:
    """The anchors of a page's headings, made as hosts of repositories make them."""
    text = _FENCE.sub("", read(name))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(text)}
