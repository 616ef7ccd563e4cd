"""A line that carries nothing: both ways or one way, in silence or with a reset."""

from dataclasses import dataclass
from enum import Enum


class Direction(Enum):
    """forward: from the side that dialled to the side that listens."""

    FORWARD = "forward"
    BACKWARD = "backward"
    BOTH = "both"


class CutMode(Enum):
    """What the ends of the line notice.

    STALL: nothing at all. Bytes stay where they are, new connections open and then hear nothing; after the heal
    everything that lives goes on, as TCP does after an outage. RESET: connections die at once, and new ones as well.
    """

    STALL = "stall"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Cut:
    """mode None: the line is whole."""

    mode: CutMode | None = None
    direction: Direction = Direction.BOTH

    def __post_init__(self) -> None:
        if self.mode is CutMode.RESET and self.direction is not Direction.BOTH:
            raise ValueError("a reset ends a connection for both sides: only a stall can be one-way")

    def stalls(self, direction: Direction) -> bool:
        """True if bytes in `direction` do not move."""
        return self.mode is CutMode.STALL and self.direction in (direction, Direction.BOTH)

    @property
    def refuses(self) -> bool:
        """True if no connection can live."""
        return self.mode is CutMode.RESET


WHOLE = Cut()
