"""Where the state machine stands within one entry."""

from dataclasses import dataclass

from replicator.model.ids import LogIndex, Revision


@dataclass(slots=True)
class Frontier:
    """Between two commands of one entry. Moves forward only.

    range_keys, read_bytes: what the transactions of the entry have read so far, refused ones included.
    """

    index: LogIndex
    time_ms: int
    revision: Revision
    live_keys: int
    range_keys: int = 0
    read_bytes: int = 0
