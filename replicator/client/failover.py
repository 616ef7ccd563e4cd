"""One call, as many attempts as its deadline allows, on whichever endpoint is best.

Invariants: all attempts of a write carry one write id, so that it is applied at most once; the error at the end says
"unknown" if any attempt may have happened and none is known to have succeeded.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import grpc.aio

from replicator.client.channels import MESSAGE_BYTES_MAX, Channels, Connection
from replicator.client.discovery import Discovery
from replicator.client.endpoints import Directory
from replicator.client.wire_errors import error_of
from replicator.model.deadline import Deadline
from replicator.model.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NoLeader,
    NotLeader,
    OutcomeUnknown,
    ReplicatorError,
    ShuttingDown,
    Unavailable,
)

BACKOFF_S_MIN: Final = 0.01
BACKOFF_S_MAX: Final = 0.5
# One silent endpoint must not eat up the whole deadline, so an attempt gets a part of it while there are others to ask.
ATTEMPT_RATIO: Final = 1 / 3
ATTEMPT_S_MIN: Final = 1.0

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """One request, as it is sent every time. request_bytes: its size, checked before it is sent.

    is_write: it changes something, so an attempt without an answer may have happened. to_leader: the leader is asked
    first, if it is known.
    """

    send: Callable[[Connection, float], Awaitable[Answer]]
    is_write: bool
    to_leader: bool
    request_bytes: int


class Failover:
    """Stateless besides what the directory learns."""

    def __init__(self, directory: Directory, channels: Channels, discovery: Discovery) -> None:
        self._directory = directory
        self._channels = channels
        self._discovery = discovery
        self._dice = random.Random()
        self._closed = False

    def close(self) -> None:
        """Calls in flight end with a typed error when their connections close."""
        self._closed = True

    async def run(self, call: Call[Answer], deadline: Deadline) -> Answer:
        """Raises the last attempt's error, or OutcomeUnknown if any attempt of a write may have happened."""
        _check_size(call.request_bytes)
        tried: set[str] = set()
        may_have_happened = False
        last: ReplicatorError | None = None
        told: ReplicatorError | None = None  # by a node: says more than a failed connection, or time that ran out
        attempts = 0
        while (left_s := deadline.left_s()) > 0.0 and not self._closed:
            address = self._choose(tried, to_leader=call.to_leader)
            try:
                return await self._attempt(call, address, left_s)
            except ReplicatorError as error:
                last = error
            may_have_happened |= call.is_write and last.applied == "unknown"
            if last.metadata.get("endpoint") != address and not isinstance(last, DeadlineExceeded):
                told = last
            self._learn(address, last)
            if not _is_worth_a_retry(last):
                break
            tried.add(address)
            attempts += 1
            pause_s = self._pause_s(attempts, last)
            if pause_s >= deadline.left_s():
                break
            await asyncio.sleep(pause_s)
        raise _verdict(told or last, may_have_happened=may_have_happened, attempts=attempts)

    def _choose(self, tried: set[str], *, to_leader: bool) -> str:
        """The best endpoint not tried yet in this pass; a new pass begins when all were."""
        order = self._directory.for_writes() if to_leader else self._directory.for_reads()
        fresh = [address for address in order if address not in tried]
        if not fresh:
            tried.clear()
            fresh = order
        return fresh[0]

    async def _attempt(self, call: Call[Answer], address: str, left_s: float) -> Answer:
        timeout_s = min(left_s, max(ATTEMPT_S_MIN, left_s * ATTEMPT_RATIO)) if self._has_choice() else left_s
        attempt = Deadline.after(timeout_s)
        connection = self._channels.to(address)
        await connection.ready(timeout_s)
        try:
            answer = await call.send(connection, attempt.left_s())
        except grpc.aio.AioRpcError as error:
            raise error_of(error, address, is_write=call.is_write) from error
        except grpc.aio.UsageError as error:  # raised before anything is sent
            raise Unavailable(f"the connection to {address} was just closed", metadata={"endpoint": address}) from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling() > 0:
                raise
            raise _connection_closed(
                address, is_write=call.is_write
            ) from error  # the channel was closed under the call
        self._directory.note_up(address)
        return answer

    def _has_choice(self) -> bool:
        return len(self._directory.addresses) > 1

    def _learn(self, address: str, error: ReplicatorError) -> None:
        """A node that answers with an error of its own is up; one that is silent or cut off is asked last.

        One that cannot bring a call to its end in time may lead no more, or forward into a void: another one is asked
        first from then on, unless a look at all of them says that it does lead.
        """
        silent = error.metadata.get("endpoint") == address
        if silent or isinstance(error, ShuttingDown):
            self._directory.note_down(address)
        if silent or isinstance(error, NoLeader | NotLeader | ShuttingDown | OutcomeUnknown | DeadlineExceeded):
            self._directory.forget_leader(address)
            self._discovery.hurry()

    def _pause_s(self, attempts: int, error: ReplicatorError) -> float:
        """Full jitter, so that clients which failed together do not come back together; never sooner than asked for."""
        ceiling_s = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2.0 ** min(attempts, 16))
        return max(self._dice.uniform(0.0, ceiling_s), error.retry_after_s or 0.0)


def _check_size(request_bytes: int) -> None:
    """Beyond this a node's transport refuses the message unread, without a word about limits."""
    if request_bytes > MESSAGE_BYTES_MAX:
        raise InvalidArgument(
            f"request has {request_bytes} bytes, far beyond what a node reads ({MESSAGE_BYTES_MAX}); keys have up to "
            "480 bytes, values up to 1 MiB",
            metadata={"field": "request", "limit": str(MESSAGE_BYTES_MAX)},
        )


def _is_worth_a_retry(error: ReplicatorError) -> bool:
    """An attempt's own deadline is shorter than the call's, so its end is no end."""
    return error.retryable or isinstance(error, DeadlineExceeded)


def _connection_closed(address: str, *, is_write: bool) -> ReplicatorError:
    facts = {"endpoint": address}
    if is_write:
        return OutcomeUnknown(
            "the client was closed while the write was under way: it may have happened", metadata=facts
        )
    return Unavailable("the client was closed while the call was under way", metadata=facts)


def _verdict(last: ReplicatorError | None, *, may_have_happened: bool, attempts: int) -> ReplicatorError:
    if last is None:
        return DeadlineExceeded("the deadline was over before the call could be sent; nothing happened")
    if may_have_happened and last.applied == "no":
        unknown = OutcomeUnknown(
            f"the write may have happened in one of {attempts} attempts; the last one ended with: {last.message}",
            metadata=last.metadata,
        )
        unknown.__cause__ = last
        return unknown
    return last  # its cause is the gRPC error
