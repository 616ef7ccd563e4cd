"""What a checker reports."""

from dataclasses import dataclass
from enum import Enum


class Breach(Enum):
    """What a violation means to the owner of the data."""

    LOST = "lost"  # acknowledged, and gone
    DUPLICATED = "duplicated"  # took effect more often than it was asked for, or although it was said to have failed
    CAUSAL = "causal"  # a read went back behind what its caller had seen
    STALE = "stale"  # a linearizable read that does not show what was acknowledged before it
    WRONG = "wrong"  # a value that nobody wrote there, or an update based on another state than it said
    DIVERGED = "diverged"  # two nodes disagree


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise, in words that name the operations involved."""

    breach: Breach
    message: str

    def __str__(self) -> str:
        return f"{self.breach.value}: {self.message}"
