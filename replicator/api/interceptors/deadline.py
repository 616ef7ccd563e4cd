"""Gives every call a finite deadline, and what is left of it to the servicer.

The service gets a little less than the caller has: a typed error that arrives says more than a deadline that fires.
"""

import asyncio
import time
from contextvars import ContextVar
from typing import Any, Final

from replicator.api.context import Context
from replicator.api.interceptors.unary import Handler, UnaryInterceptor
from replicator.model.errors import DeadlineExceeded, Internal
from replicator.model.limits import CALL_TIMEOUT_S_DEFAULT, CALL_TIMEOUT_S_MAX

REPLY_MARGIN_RATIO: Final = 0.1
REPLY_MARGIN_S_MAX: Final = 0.1
# A service that overruns its time has a bug; the call ends even so.
OVERRUN_S_MAX: Final = 2.0

_deadline_monotonic_s: ContextVar[float] = ContextVar("deadline_monotonic_s")


def call_timeout_s() -> float:
    """Seconds that the current call has left; 0 if it is over. Only within a call."""
    return max(0.0, _deadline_monotonic_s.get() - time.monotonic())


def service_budget_s(remaining_s: float | None) -> float:
    """Seconds for the service. remaining_s: what the caller gave, None if it set no deadline."""
    if remaining_s is None:
        return CALL_TIMEOUT_S_DEFAULT
    granted_s = min(max(0.0, remaining_s), CALL_TIMEOUT_S_MAX)
    return granted_s - min(REPLY_MARGIN_S_MAX, granted_s * REPLY_MARGIN_RATIO)


class DeadlineInterceptor(UnaryInterceptor):
    """Innermost: queues before it count towards the deadline."""

    async def around(self, method: str, call: Handler, request: Any, context: Context) -> Any:  # noqa: ARG002
        budget_s = service_budget_s(context.time_remaining())
        if budget_s <= 0.0:
            raise DeadlineExceeded("the call arrived after its deadline; nothing was done")
        reset = _deadline_monotonic_s.set(time.monotonic() + budget_s)
        try:
            async with asyncio.timeout(budget_s + OVERRUN_S_MAX) as backstop:
                return await call(request, context)
        except TimeoutError:
            if not backstop.expired():
                raise
            raise Internal(f"the call overran its {budget_s:.3f} s by {OVERRUN_S_MAX:g} s and was stopped") from None
        finally:
            _deadline_monotonic_s.reset(reset)
