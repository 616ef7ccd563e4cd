"""Results for people (a table) and for machines (JSON)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Result


def table(result: Result) -> str:
    """One benchmark as aligned text."""
    rows = [("", "median", "min", "max", "unit")] + [_row(figure) for figure in result.figures]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [result.question, ", ".join(f"{name} {value}" for name, value in result.configuration.items())]
    for row in rows:
        numbers = "  ".join(cell.rjust(width) for cell, width in zip(row[1:4], widths[1:4], strict=True))
        lines.append(f"  {row[0].ljust(widths[0])}  {numbers}  {row[4]}".rstrip())
    lines += [f"  note: {note}" for note in result.notes]
    return "\n".join(lines)


def number(value: float) -> str:
    """Three significant digits or so: more would claim a precision that rounds do not have."""
    if value == 0:
        return "0"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def write_json(path: Path, stamp: dict[str, Any], results: Sequence[Result]) -> None:
    """One file a run."""
    content = {"stamp": stamp, "results": [result.to_json() for result in results]}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _row(figure: Figure) -> tuple[str, str, str, str, str]:
    low, high = min(figure.values), max(figure.values)
    return figure.name, number(figure.median), number(low), number(high), figure.unit
