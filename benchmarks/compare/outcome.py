"""The outcome of a comparison: a JSON file, a table for the terminal, the table of docs/performance.md."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.report import number

END: Final = "<!-- end of the figures -->"

_Figures = Sequence[Mapping[str, Any]]  # as `Line.to_json` writes them


def beginning(peer: str) -> str:
    """The line of the page that the table of a peer follows, up to END."""
    return f"<!-- figures: written by `python -m benchmarks compare --peer {peer} --write-docs` -->"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replaced at once, so that a reader meanwhile sees a whole file."""
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(path)


def verdict(figure: Mapping[str, Any]) -> str:
    """met, NOT met, not measured, FAILED; `no goal` where there is nothing to meet."""
    if figure["status"] == "failed":
        return "FAILED"
    if figure["status"] == "not measured":
        return "not measured"
    return {True: "met", False: "NOT met", None: "no goal"}[figure["met"]]


def text_table(figures: _Figures) -> str:
    """Aligned columns, the notes below each row, then the CPU of each process."""
    rows = [("", "opponent", "ours", "theirs", "ratio", "unit", "goal", "")]
    rows += [(figure["name"], figure["opponent"], *_cells(figure), verdict(figure)) for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for place, row in enumerate(rows):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        note = figures[place - 1]["note"] if place else ""
        if note:
            lines.append(f"    note: {note}")
    return "\n".join([*lines, *_cpu_lines(figures)])


def markdown_table(figures: _Figures) -> str:
    """For the page: medians with their spread."""
    lines = ["| figure | opponent | ours | theirs | ratio | unit | goal | |", f"|{' --- |' * 8}"]
    for figure in figures:
        ours, theirs, ratio, unit, goal = _cells(figure)
        spread = figure["spread"]
        cells = (
            figure["name"], figure["opponent"], ours + _range(spread["ours"]), theirs + _range(spread["theirs"]),
            ratio + _range(spread["ratio"]), unit, goal, verdict(figure),
        )  # fmt: skip
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
        if figure["note"]:
            lines.append(f"| | {figure['note'].replace('|', '/')} | | | | | | |")
    return "\n".join(lines)


def write_docs(page: Path, content: Mapping[str, Any]) -> None:
    """Replaces the table of the peer. Raises ValueError if the page has no block for it."""
    text = page.read_text(encoding="utf-8")
    head, begin, rest = text.partition(beginning(content["peer"]))
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no block {beginning(content['peer'])!r} to {END!r}")
    stamp = content["stamp"]
    machine = stamp["machine"]
    said = (
        f"Commit `{stamp['commit']}`, {stamp['taken_at']}, {machine['cores_usable']} cores ({machine['processor']}), "
        f"one sync {machine['fsync_ms_median']} ms, Python {stamp['python']}; peer: {content['peer']} "
        f"{content['peer_version'] or ''}, {content['effort']} run."
    )
    table = markdown_table(content["figures"])
    page.write_text(f"{head}{begin}\n{said}\n\n{table}\n{END}{tail}", encoding="utf-8")


def _cells(figure: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    """ours, theirs, ratio, unit, goal"""
    values = [("" if figure[key] is None else number(figure[key])) for key in ("ours", "theirs", "ratio")]
    return values[0], values[1], values[2], figure["unit"], figure["goal"] or ""


def _range(spread: Mapping[str, float] | None) -> str:
    return "" if spread is None else f" ({number(spread['min'])} to {number(spread['max'])})"


def _cpu_lines(figures: _Figures) -> list[str]:
    lines = []
    for figure in figures:
        cpu = {name: value for name, value in figure["details"].items() if "CPU of" in name}
        if cpu:
            said = ", ".join(f"{_short(name)} {number(value)}" for name, value in cpu.items())
            lines.append(f"  {figure['name']}, {figure['opponent']}: {said}")
    return ["", "CPU, us an operation:", *lines] if lines else []


def _short(name: str) -> str:
    return name.removesuffix(", us an operation").replace(": CPU of", "")
