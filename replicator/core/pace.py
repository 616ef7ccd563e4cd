"""How often a thing is said that may happen a thousand times a second. Pure: time is handed in."""

from collections import OrderedDict
from typing import Final

SAY_EVERY_S: Final = 10.0
_KEYS_MAX: Final = 256  # keys may come from outside, so the memory of them is bounded


class Pace:
    """Says each key at most once in SAY_EVERY_S, and then how often it happened since it was last said."""

    def __init__(self, say_every_s: float = SAY_EVERY_S) -> None:
        self._say_every_s = say_every_s
        self._said: OrderedDict[str, tuple[float, int]] = OrderedDict()  # when, and how often since

    def happened(self, key: str, now_s: float, times: int = 1) -> int:
        """How often `key` happened since it was last said, this time included; 0 if it need not be said now."""
        said_s, silent = self._said.pop(key, (float("-inf"), 0))
        times += silent
        is_due = now_s - said_s >= self._say_every_s
        self._said[key] = (now_s, 0) if is_due else (said_s, times)
        if len(self._said) > _KEYS_MAX:
            self._said.popitem(last=False)
        return times if is_due else 0
