"""Which run of which data directory a node is: tells a node from a copy of its directory, and from an older one."""

from dataclasses import dataclass
from typing import Final

RUN_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Incarnation:
    """number: how often the data directory has been opened, made durable at each start. run_id: random, of the process.

    Of two runs of one directory the greater number is the later one. Equal numbers with different run ids come from two
    copies of one directory.
    """

    number: int
    run_id: bytes

    def __str__(self) -> str:
        return f"{self.number} ({self.run_id.hex()[:8]})"


@dataclass(frozen=True, slots=True)
class KnownIncarnation:
    """The newest run of a node's data directory that was linked.

    is_of_group: some run of this directory has proven that it holds the group's secret, so every later one can.
    """

    directory_id: bytes
    incarnation: Incarnation
    is_of_group: bool = False
