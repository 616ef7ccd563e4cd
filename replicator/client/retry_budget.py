"""How many attempts a client may give up and repeat elsewhere: a share of its calls, and a few more.

Exists because an attempt that is given up goes on at the node that has it. Where everything is slow, each client that
asks again multiplies what made it slow; a client beyond its budget tells its caller what is known instead.
"""

from typing import Final

RETRIES_A_CALL: Final = 0.1
# A node that hangs is met by all that is under way at once: 4 batches of writes, 64 of reads, and calls beside them.
RETRIES_AT_ONCE_MAX: Final = 100.0


class RetryBudget:
    """Of one client. A token is one retry."""

    def __init__(self) -> None:
        self._tokens = RETRIES_AT_ONCE_MAX

    def note_call(self) -> None:
        """A call, or a batch of calls, begins."""
        self._tokens = min(RETRIES_AT_ONCE_MAX, self._tokens + RETRIES_A_CALL)

    def take(self) -> bool:
        """True if one more retry is allowed."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
