"""Bounds and times connections to the peer port before their handshake, for every method."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import grpc

from replicator.transport.handshake.node_certificates import judge_certificate_of
from replicator.transport.handshake.verdicts import Refused
from replicator.transport.links.roster import Roster
from replicator.transport.streams import LinkLost
from replicator.v1 import peer_pb2

T = TypeVar("T")

UNSHAKEN_STREAMS_MAX: Final = 32  # streams that have not proven who they are, at once


@dataclass(eq=False, slots=True)
class _Unshaken:
    """One of those. patience: its time for the handshake. is_crowded_out: it has lost its place."""

    origin: str
    patience: asyncio.Timeout
    is_crowded_out: bool = False

    def crowd_out(self) -> None:
        if self.patience.expired():  # it is on its way out already
            return
        self.is_crowded_out = True
        self.patience.reschedule(asyncio.get_running_loop().time())


class AdmissionGate:
    """One for the port, so that its bound holds for links and snapshots together."""

    def __init__(self, roster: Roster, *, certificates: bool) -> None:
        self._roster = roster
        self._certificates = certificates
        self._unshaken: list[_Unshaken] = []  # oldest first

    async def welcome(
        self, context: "grpc.aio.ServicerContext[bytes, bytes]", shake_hands: Callable[[], Awaitable[T | None]]
    ) -> T | None:
        """What `shake_hands` returns, which has a bounded time for it; None if it raises LinkLost, too."""
        hello_s = self._roster.known_peers.settings.timers.hello_s
        patience = asyncio.timeout(hello_s)
        stream = _Unshaken(origin(context), patience)
        try:
            async with patience:
                self._admit(stream)
                return await shake_hands()
        except TimeoutError:
            if stream.is_crowded_out:
                why = f"{UNSHAKEN_STREAMS_MAX} streams have not proven who they are, most of them from here; try again"
                self._turn_away(context, grpc.StatusCode.RESOURCE_EXHAUSTED, why)
            else:
                why = f"no Hello and proof within {hello_s:g} s"
                self._turn_away(context, grpc.StatusCode.DEADLINE_EXCEEDED, why)
        except LinkLost as error:
            self._turn_away(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            if stream in self._unshaken:
                self._unshaken.remove(stream)
        return None

    def _admit(self, stream: _Unshaken) -> None:
        """Streams that say nothing cannot keep others out: where most come from, the oldest gives up its place."""
        if len(self._unshaken) >= UNSHAKEN_STREAMS_MAX:
            crowds = Counter(each.origin for each in self._unshaken)
            crowd = max(crowds.values())
            oldest = next(each for each in self._unshaken if crowds[each.origin] == crowd)
            self._unshaken.remove(oldest)
            oldest.crowd_out()
        self._unshaken.append(stream)

    def judge_certificate(
        self, hello: peer_pb2.Hello, context: "grpc.aio.ServicerContext[bytes, bytes]"
    ) -> Refused | None:
        """None if there is no TLS, or the certificate is that of the node."""
        if not self._certificates:
            return None
        return judge_certificate_of(context, hello.node_id, self._roster.known_peers.settings.cluster_id)

    def say(self, key: str, text: str) -> None:
        """One warning about `key`, once."""
        self._roster.log_once.say(key, text)

    def _turn_away(self, context: "grpc.aio.ServicerContext[bytes, bytes]", code: grpc.StatusCode, why: str) -> None:
        self.say(f"unknown:{origin(context)}", f"turned away a stream from={origin(context)}: {why}")
        end(context, code, why)


def origin(context: "grpc.aio.ServicerContext[bytes, bytes]") -> str:
    """Where a stream comes from, without the port, which differs with each try."""
    return context.peer().rpartition(":")[0]


def end(context: "grpc.aio.ServicerContext[bytes, bytes]", code: grpc.StatusCode, why: str) -> None:
    """Sets the status that the handler's return will send. Not `abort`: aborted handlers upset a graceful stop."""
    context.set_code(code)
    context.set_details(why)
