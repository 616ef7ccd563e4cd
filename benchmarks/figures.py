"""What a benchmark found: figures, each measured several times. Plain values; runs nothing, prints nothing.

A figure is its median with the lowest and highest round beside it, never a single number, and is compared to nothing:
timing is reported, not judged.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Setting = int | float | str


@dataclass(frozen=True, slots=True)
class Figure:
    """One quantity. values: one a round, in the order of the rounds."""

    name: str
    unit: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"{self.name}: a figure without a measurement")

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "values": list(self.values),
        }


@dataclass(frozen=True, slots=True)
class Result:
    """One benchmark's answer. configuration: what it was asked to do. notes: what a reader must know to judge it."""

    benchmark: str
    question: str
    configuration: Mapping[str, Setting]
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "benchmark": self.benchmark,
            "question": self.question,
            "configuration": dict(self.configuration),
            "figures": [figure.to_json() for figure in self.figures],
            "notes": list(self.notes),
        }


class Collector:
    """Gathers one value a round for each figure; figures keep the order in which they were first met."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], list[float]] = {}

    def add(self, name: str, unit: str, value: float) -> None:
        self._values.setdefault((name, unit), []).append(value)

    def latest(self, name: str, unit: str) -> float | None:
        """What this round, or the last one that had it, measured."""
        values = self._values.get((name, unit))
        return values[-1] if values else None

    def figures(self) -> tuple[Figure, ...]:
        return tuple(Figure(name, unit, tuple(values)) for (name, unit), values in self._values.items())


def percentile(ascending: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all values do not exceed: one that was really measured."""
    if not ascending:
        raise ValueError("percentile of nothing")
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share is {share}, must be 0 to 1")
    rank = math.ceil(share * len(ascending) - 1e-9)  # 0.07 * 100 is a little more than 7
    return ascending[max(rank, 1) - 1]
