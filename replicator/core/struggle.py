"""How much longer than agreed does a node wait when elections are held and no leader lasts?

Only a leader changes agreed timers, and with timers shorter than a round trip no leader lasts: an elected node steps
down before a majority can have answered. So each node doubles its own election timeouts until a leader lasts, and
keeps them until that leader can propose better ones. Safety does not depend on timers.
"""

from typing import Final

TIMEOUTS_MAX: Final = 8  # greatest election timeouts without a leader that lasts; by chance hardly ever so many
FACTOR_MAX: Final = 32  # from the least election timeout beyond the greatest that is ever derived
KEEP_S: Final = 120.0


class Struggle:
    """One node's. factor: times the agreed election timeouts."""

    def __init__(self) -> None:
        self.factor = 1
        self._since_s: float | None = None
        self._settled_s: float | None = None

    def look(self, now_s: float, *, settled: bool, timeout_s: float) -> int:
        """The factor from now on. settled: something of this term is committed; timeout_s: the greatest one in force.

        A node that is cut off sees no new term, so it stays settled and does not become slow.
        """
        if settled:
            self._since_s = None
            self._settled_s = now_s if self._settled_s is None else self._settled_s
            if now_s - self._settled_s > KEEP_S:
                self.factor = 1
            return self.factor
        self._settled_s = None
        if self._since_s is None:
            self._since_s = now_s
        elif now_s - self._since_s > TIMEOUTS_MAX * timeout_s and self.factor < FACTOR_MAX:
            self.factor, self._since_s = 2 * self.factor, now_s
        return self.factor
