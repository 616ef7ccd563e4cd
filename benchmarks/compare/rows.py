"""The rows of the comparison: what is measured against what, the goal of each, and whether it is met.

Plain values and statistics; runs nothing. A row is declared before it is measured, so that a figure that fails, or that
cannot be measured here, is shown as such and never missing.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

NO_OPPONENT: Final = "-"


class Judged(StrEnum):
    """What a goal limits: ours / theirs, ours - theirs, or ours alone."""

    RATIO = "ratio"
    DIFFERENCE = "difference"
    OURS = "ours"


class Status(StrEnum):
    """`not measured`: something that the machine lacks. `failed`: it was tried and ended with an error."""

    MEASURED = "measured"
    NOT_MEASURED = "not measured"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Goal:
    """limit: in the row's unit, or a ratio. at_most: the limit is a ceiling; otherwise it is a floor."""

    judged: Judged
    limit: float
    at_most: bool
    stretch: float | None = None

    def text(self, unit: str) -> str:
        """As the table shows it."""
        sign = "<=" if self.at_most else ">="
        suffix = {Judged.RATIO: " x", Judged.DIFFERENCE: f" {unit} more", Judged.OURS: f" {unit}"}[self.judged]
        stretch = "" if self.stretch is None else f", stretch {self.stretch:g}{suffix}"
        return f"{sign} {self.limit:g}{suffix}{stretch}"

    def met_by(self, ours: Sequence[float], theirs: Sequence[float]) -> bool:
        """Of the median of all rounds; a ratio or difference is that of each round. Without a ratio: not met."""
        match self.judged:
            case Judged.RATIO:
                of_rounds = ratios(ours, theirs)
                if not of_rounds:
                    return False
                found = statistics.median(of_rounds)
            case Judged.DIFFERENCE:
                found = statistics.median(own - other for own, other in zip(ours, theirs, strict=True))
            case Judged.OURS:
                found = statistics.median(ours)
        return found <= self.limit if self.at_most else found >= self.limit


def times(limit: float, *, stretch: float | None = None) -> Goal:
    """At least that many times theirs."""
    return Goal(Judged.RATIO, limit, at_most=False, stretch=stretch)


def at_most_times(limit: float) -> Goal:
    """At most that many times theirs."""
    return Goal(Judged.RATIO, limit, at_most=True)


def at_most_more(limit: float) -> Goal:
    """At most that much above theirs."""
    return Goal(Judged.DIFFERENCE, limit, at_most=True)


def at_most(limit: float) -> Goal:
    """Ours alone."""
    return Goal(Judged.OURS, limit, at_most=True)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, before it is measured. opponent: always named; NO_OPPONENT where there is none."""

    name: str
    opponent: str
    unit: str
    goal: Goal | None = None


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Round by round: the two sides of a round met the same minute of the machine. Empty if theirs has a zero."""
    if not theirs or min(theirs) == 0:
        return []
    return [own / other for own, other in zip(ours, theirs, strict=True)]


@dataclass(slots=True)
class Line:
    """A row and what was measured for it. ours, theirs: one value a round; theirs is empty without an opponent."""

    row: Row
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    details: dict[str, list[float]] = field(default_factory=dict)
    status: Status = Status.NOT_MEASURED
    notes: list[str] = field(default_factory=list)
    refuted: bool = False
    omitted: bool = False

    @property
    def met(self) -> bool | None:
        """None if there is no goal, or nothing was measured. A figure that failed does not meet its goal."""
        if self.row.goal is None or self.status is Status.NOT_MEASURED:
            return None
        if self.status is Status.FAILED or self.refuted:
            return False
        return self.row.goal.met_by(self.ours, self.theirs)

    def to_json(self) -> dict[str, Any]:
        """As `figures` of the JSON file lists it."""
        of_rounds = ratios(self.ours, self.theirs) if self.status is Status.MEASURED else []
        return {
            "name": self.row.name,
            "opponent": self.row.opponent,
            "unit": self.row.unit,
            "ours": _median(self.ours),
            "theirs": _median(self.theirs),
            "ratio": _median(of_rounds),
            "goal": None if self.row.goal is None else self.row.goal.text(self.row.unit),
            "met": self.met,
            "status": self.status.value,
            "spread": {"ours": _spread(self.ours), "theirs": _spread(self.theirs), "ratio": _spread(of_rounds)},
            "values": {"ours": self.ours, "theirs": self.theirs},
            "rounds": len(self.ours),
            "details": {name: statistics.median(values) for name, values in self.details.items()},
            "note": "; ".join(self.notes),
        }


class Book:
    """Gathers what is measured. A row that is never added to stays `not measured`."""

    def __init__(self) -> None:
        self._lines: dict[Row, Line] = {}

    def expect(self, rows: Iterable[Row]) -> None:
        """Declares rows, in the order of the table."""
        for row in rows:
            self._lines.setdefault(row, Line(row))

    def add(self, row: Row, ours: float, theirs: float | None = None) -> None:
        """One round. Raises KeyError for a row that was not declared."""
        line = self._lines[row]
        if (theirs is None) != (row.opponent == NO_OPPONENT):
            raise ValueError(f"{row.name}: the opponent is {row.opponent!r}, its value is {theirs}")
        line.status = Status.MEASURED
        line.ours.append(ours)
        if theirs is not None:
            line.theirs.append(theirs)

    def add_ours(self, row: Row, ours: float) -> None:
        """One round without the opponent, which `omit` says is missing: shown, and judged by nothing."""
        self._lines[row].ours.append(ours)

    def detail(self, row: Row, name: str, value: float) -> None:
        """Something measured beside the row's figure; the name carries the unit."""
        self._lines[row].details.setdefault(name, []).append(value)

    def note(self, row: Row, text: str) -> None:
        """What a reader must know to judge the row; said once."""
        if text not in self._lines[row].notes:
            self._lines[row].notes.append(text)

    def refute(self, row: Row, reason: str) -> None:
        """The row's conditions did not hold, so its goal is not met whatever the figure says."""
        self._lines[row].refuted = True
        self.note(row, reason)

    def omit(self, row: Row, reason: str) -> None:
        """It cannot be measured here; the reason says what is missing."""
        self._lines[row].omitted = True
        self.note(row, reason)

    def fail(self, rows: Iterable[Row], reason: str) -> None:
        """Measuring ended with an error: the rounds before it do not count as a result. Omitted rows stay omitted."""
        for row in rows:
            if not self._lines[row].omitted:
                self._lines[row].status = Status.FAILED
                self.note(row, reason)

    def lines(self) -> list[Line]:
        """In the order of declaration."""
        return list(self._lines.values())


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    return {"min": min(values), "max": max(values)} if values else None
