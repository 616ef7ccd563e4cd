"""What was done to the cluster, and when: filled by the scenario, read by the verdict and the summary.

All times are of the monotonic clock that the history uses.
"""

import time
from dataclasses import dataclass, field
from enum import Enum


class Phase(Enum):
    """value: what a reader of the progress is told."""

    STEADY = "all is well"
    LEADERLESS = "the leader is killed"
    RETURNED = "the killed node is back"
    CUT = "one region is cut off"
    HEALED = "the region is back"


@dataclass(slots=True)
class Span:
    """A phase as it was."""

    phase: Phase
    start_s: float
    end_s: float = 0.0


@dataclass(slots=True)
class Kill:
    """The leader's death by SIGKILL. came_back_s: it answers and holds all that was committed when it was restarted."""

    node: str
    region: str
    at_s: float
    exit_code: int
    term: int
    writes_in_flight: int
    new_leader: str = ""
    new_term: int = 0
    restarted_s: float = 0.0
    came_back_s: float = 0.0


@dataclass(slots=True)
class Cutting:
    """A region's time without any line to the others."""

    region: str
    at_s: float
    bytes_before: int
    bytes_during: int = 0
    bytes_after: int = 0
    healed_s: float = 0.0
    converged_s: float = 0.0


@dataclass(slots=True)
class Chronicle:
    """One run."""

    seed: int
    started_s: float = field(default_factory=time.monotonic)
    first_leader: str = ""
    first_leader_region: str = ""
    spans: list[Span] = field(default_factory=list)
    kill: Kill | None = None
    cutting: Cutting | None = None

    def begin(self, phase: Phase) -> Span:
        """Ends the phase before, if any."""
        self.end_phase()
        self.spans.append(Span(phase, time.monotonic()))
        return self.spans[-1]

    def end_phase(self) -> None:
        """The current phase is over."""
        if self.spans and not self.spans[-1].end_s:
            self.spans[-1].end_s = time.monotonic()

    @property
    def phase(self) -> Phase | None:
        """The current one."""
        return self.spans[-1].phase if self.spans and not self.spans[-1].end_s else None

    def span(self, phase: Phase) -> Span | None:
        """None if the run never got there."""
        return next((span for span in self.spans if span.phase is phase), None)
