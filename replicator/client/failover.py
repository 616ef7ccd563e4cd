"""One call, as many attempts as its deadline allows, on whichever endpoint is best.

Invariants: all attempts of a write carry one write id, so that it is applied at most once; the error at the end says
"unknown" if any attempt may have happened and none is known to have succeeded.
One attempt at a time. A node that answers other calls is slow, not silent: asking a second one would only add to what
both have to do, so a batch is waited for. Only silence, a broken connection or an answer ends an attempt early.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import grpc
import grpc.aio

from replicator.client.breakers import Breakers
from replicator.client.channels import Channels, Connection
from replicator.client.discovery import Discovery
from replicator.client.endpoints import Directory
from replicator.client.retry_budget import RetryBudget
from replicator.client.wire_errors import as_errors
from replicator.model.deadline import Deadline
from replicator.model.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NoLeader,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    ReplicatorError,
    ShuttingDown,
)
from replicator.model.limits import KEY_BYTES_MAX, MESSAGE_BYTES_MAX, VALUE_BYTES_MAX, in_mib

BACKOFF_S_MIN: Final = 0.01
BACKOFF_S_MAX: Final = 0.5
RETURN_JITTER: Final = 0.25  # of the time that a node asks for, on top of it
# One silent endpoint must not eat up the whole deadline, so it gets a part of it while there are others to ask.
PATIENCE_RATIO: Final = 1 / 3
PATIENCE_S_MIN: Final = 1.0

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """One request, as it is sent every time. request_bytes: its size, checked before it is sent.

    send: gets what is left of the call's time, and after how long a silence another node is to be asked.
    is_write: it changes something, so an attempt without an answer may have happened. to_leader: the leader is asked
    first, if it is known.
    """

    send: Callable[[Connection, float, float], Awaitable[Answer]]
    is_write: bool
    to_leader: bool
    request_bytes: int


@dataclass(slots=True)
class Progress:
    """What became of the attempts of one call so far. told: by a node, which says more than silence does."""

    is_write: bool
    attempts: int = 0
    is_out: bool = False  # an attempt has been sent and has not ended
    may_have_happened: bool = False
    last: ReplicatorError | None = None
    told: ReplicatorError | None = None

    def verdict(self) -> ReplicatorError:
        """At the end of all attempts."""
        last = self.told or self.last
        if last is None:
            return DeadlineExceeded("the deadline was over before the call could be sent; nothing happened")
        return self.judged(last)

    def judged(self, last: ReplicatorError) -> ReplicatorError:
        """What the error of the last attempt means after those before it."""
        if self.may_have_happened and last.applied == "no":
            return self._unknown(f"the last one ended with: {last.message}", last)
        return last  # its cause is the gRPC error, if there was one

    def cut_short(self, why: ReplicatorError) -> ReplicatorError:
        """For a caller that waits no longer. why: says that nothing happened; used if no more is known."""
        last = self.told or self.last
        if self.is_write and (self.is_out or self.may_have_happened):
            return self._unknown(why.message, last or why)
        return last or why

    def note(self, error: ReplicatorError, address: str) -> None:
        """An attempt at `address` has failed."""
        self.last = error
        self.attempts += 1
        self.may_have_happened |= self.is_write and error.applied == "unknown"
        if error.metadata.get("endpoint") != address and not isinstance(error, DeadlineExceeded):
            self.told = error

    def _unknown(self, why: str, cause: ReplicatorError) -> OutcomeUnknown:
        tries = f"one of {self.attempts} attempts" if self.attempts > 1 else "an attempt"
        unknown = OutcomeUnknown(f"the write may have happened in {tries}; {why}", metadata=cause.metadata)
        unknown.__cause__ = cause
        return unknown


class Failover:
    """What it learns of nodes is in the directory and the breakers."""

    def __init__(self, directory: Directory, channels: Channels, discovery: Discovery) -> None:
        self._directory = directory
        self._channels = channels
        self._discovery = discovery
        self._dice = random.Random()
        self._budget = RetryBudget()
        self._breakers = Breakers(self._dice)
        self._closed = False

    def close(self) -> None:
        """Calls in flight end with a typed error when their connections close."""
        self._closed = True

    async def run(self, call: Call[Answer], deadline: Deadline, progress: Progress | None = None) -> Answer:
        """Raises the last attempt's error, or OutcomeUnknown if any attempt of a write may have happened.

        progress: of the call, for those who look at it meanwhile.
        """
        _check_size(call.request_bytes)
        progress = progress or Progress(call.is_write)
        tried: set[str] = set()
        self._budget.note_call()
        while (left_s := deadline.left_s()) > 0.0 and not self._closed:
            address = self._choose(tried, to_leader=call.to_leader)
            try:
                return await self._attempt(call, address, left_s, progress)
            except ReplicatorError as error:
                failure = error
            progress.note(failure, address)
            self._learn(address, failure)
            if not is_worth_a_retry(failure) or (_was_given_up(failure, address) and not self._budget.take()):
                break
            if not (call.to_leader and isinstance(failure, Overloaded)):  # others could only pass it on to that one
                tried.add(address)
            pause_s = self._pause_s(progress.attempts, failure)
            if pause_s >= deadline.left_s():
                break
            await asyncio.sleep(pause_s)
        raise progress.verdict()

    # Streams, which their owners read as long as they last

    @property
    def is_closed(self) -> bool:
        return self._closed

    def next_for_stream(self, tried: set[str]) -> str:
        """The best endpoint for a stream, of those not tried in this pass."""
        return self._choose(tried, to_leader=False)

    def stream_serves(self, address: str) -> None:
        """It has brought something."""
        self._directory.note_up(address)
        self._breakers.answered(address)

    def stream_failed(self, address: str, error: ReplicatorError, attempts: int) -> float:
        """Learns from it. Returns how long to wait before the next attempt. attempts: in vain, this one included."""
        self._learn(address, error)
        return self._pause_s(attempts, error)

    def _choose(self, tried: set[str], *, to_leader: bool) -> str:
        """The best endpoint not tried yet in this pass; a new pass begins when all were."""
        order, now_s = self._directory.for_writes() if to_leader else self._directory.for_reads(), time.monotonic()
        usable = [address for address in order if self._breakers.admits(address, now_s)] or order
        fresh = [address for address in usable if address not in tried]
        if not fresh:
            tried.clear()
            fresh = usable
        self._breakers.trying(fresh[0], now_s)
        return fresh[0]

    async def _attempt(self, call: Call[Answer], address: str, left_s: float, progress: Progress) -> Answer:
        patience_s = min(left_s, max(PATIENCE_S_MIN, left_s * PATIENCE_RATIO)) if self._has_choice() else left_s
        whole, patience = Deadline.after(left_s), Deadline.after(patience_s)
        connection = self._channels.to(address)
        await connection.ready(patience_s)
        progress.is_out = True
        with as_errors(address, is_write=call.is_write):
            try:
                answer = await call.send(connection, whole.left_s(), patience.left_s())
            except asyncio.CancelledError:
                progress.may_have_happened |= call.is_write
                raise
            finally:
                progress.is_out = False
        self._directory.note_up(address)
        self._breakers.answered(address)
        return answer

    def _has_choice(self) -> bool:
        return len(self._directory.addresses) > 1

    def _learn(self, address: str, error: ReplicatorError) -> None:
        """A node that answers with an error of its own is up; one that is silent or cut off is asked last.

        One that cannot bring a call to its end in time may lead no more, or forward into a void: another one is asked
        first from then on, unless a look at all of them says that it does lead.
        """
        silent = error.metadata.get("endpoint") == address
        if silent:
            self._breakers.forget(set(self._directory.addresses))
            self._breakers.was_silent(address, time.monotonic())
        else:
            self._breakers.answered(address)
        if silent or isinstance(error, ShuttingDown):
            self._directory.note_down(address)
        if silent or isinstance(error, NoLeader | NotLeader | ShuttingDown | OutcomeUnknown | DeadlineExceeded):
            self._directory.forget_leader(address)
            self._discovery.hurry()

    def _pause_s(self, attempts: int, error: ReplicatorError) -> float:
        """Full jitter, so that clients which failed together do not come back together; never sooner than asked for."""
        ceiling_s = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2.0 ** min(attempts, 16))
        asked_s = (error.retry_after_s or 0.0) * (1.0 + self._dice.uniform(0.0, RETURN_JITTER))
        return max(self._dice.uniform(0.0, ceiling_s), asked_s)


def _check_size(request_bytes: int) -> None:
    """Beyond this a node's transport refuses the message unread, without a word about limits."""
    if request_bytes > MESSAGE_BYTES_MAX:
        raise InvalidArgument(
            f"request has {request_bytes} bytes, far beyond what a node reads ({MESSAGE_BYTES_MAX}); keys have up to "
            f"{KEY_BYTES_MAX} bytes, values up to {in_mib(VALUE_BYTES_MAX)}",
            metadata={"field": "request", "limit": str(MESSAGE_BYTES_MAX)},
        )


def _was_given_up(error: ReplicatorError, address: str) -> bool:
    """Whether this client stopped waiting: what it sent may still be under way at the node."""
    if not isinstance(error, DeadlineExceeded | OutcomeUnknown) or error.metadata.get("endpoint") != address:
        return False
    return error.metadata.get("grpc_code") in (None, grpc.StatusCode.DEADLINE_EXCEEDED.name)


def is_worth_a_retry(error: ReplicatorError) -> bool:
    """An attempt's own deadline is shorter than the call's, so its end is no end."""
    return error.retryable or isinstance(error, DeadlineExceeded)
