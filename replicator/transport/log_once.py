"""Say a thing once: a peer that is down fails every second, an operator needs the line when it changes."""

import logging
from collections import OrderedDict
from typing import Final

_KEYS_MAX: Final = 256  # keys may come from the wire (an unknown node's address), so the memory of them is bounded


class LogOnce:
    """Logs a text at its level when it, or its matter, differs from the last one under the same key, else at debug."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._last: OrderedDict[str, str] = OrderedDict()

    def say(self, key: str, text: str, *, level: int = logging.WARNING, matter: str | None = None) -> None:
        """One line about `key`. matter: what of it is news, if another line that says the same is none."""
        matter = text if matter is None else matter
        repeated = self._last.get(key) == matter
        self._last[key] = matter
        self._last.move_to_end(key)
        if len(self._last) > _KEYS_MAX:
            self._last.popitem(last=False)
        self._logger.log(logging.DEBUG if repeated else level, "%s", text)

    def forget(self, key: str) -> None:
        """The matter is settled; the next text under `key` is news again."""
        self._last.pop(key, None)
