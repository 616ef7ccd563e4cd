"""How much of the log may go? Asked in every turn; answered from positions alone.

Exists because a log that grows for ever fills the disk, and one that is too short sends every straggler a snapshot.
Knows: positions and sizes. Must not know: who lags, what entries hold.
"""

from typing import Final

from replicator.model.ids import LogIndex

ENTRIES_MIN: Final = 16  # fewer are not worth a deletion
CUT_ENTRIES_MAX: Final = 1024  # more at a time would hold up the turn's callers; the next turn goes on
LOOK_EVERY_ENTRIES: Final = 256  # how often the size in bytes is looked at
SLACK: Final = 1.5  # a log that is too large is cut by half as much again, so that the next cut is some way off


class CompactionPolicy:
    """Bounds of the log in entries and bytes. Only what is durably applied may go."""

    def __init__(self, *, entries_max: int, bytes_max: int) -> None:
        self._entries_max, self._bytes_max = entries_max, bytes_max
        self._looked_at = 0

    def wants_size(self, last_index: LogIndex) -> bool:
        """Is it time to look at the log's size in bytes?"""
        return last_index - self._looked_at >= LOOK_EVERY_ENTRIES

    def first_to_keep(
        self, first_index: LogIndex, last_index: LogIndex, applied_index: LogIndex, log_bytes: int | None
    ) -> LogIndex | None:
        """The entry that should become the first; None if the log is within its bounds.

        log_bytes: size on disk, None if it was not looked at in this turn.
        """
        keep_from = last_index - self._entries_max + 1
        if log_bytes is not None:
            self._looked_at = last_index
            if log_bytes > self._bytes_max:  # as if entries were alike; the next look corrects it
                share = min(1.0, SLACK * (log_bytes - self._bytes_max) / log_bytes)
                keep_from = max(keep_from, first_index + int((last_index - first_index) * share))
        keep_from = min(keep_from, applied_index, first_index + CUT_ENTRIES_MAX)
        return LogIndex(keep_from) if keep_from - first_index >= ENTRIES_MIN else None
