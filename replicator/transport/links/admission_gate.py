"""Bounds and times connections to the peer port before their handshake, for every method."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import grpc

from replicator.core.places import Places
from replicator.model.patience import Patience
from replicator.transport.handshake.node_certificates import judge_certificate_of
from replicator.transport.handshake.verdicts import Refused
from replicator.transport.links.roster import Roster
from replicator.transport.streams import AcceptedStream, LinkLost
from replicator.v1 import peer_pb2

T = TypeVar("T")

# Streams that have not proven who they are: so many that have said nothing, and so many that have said something.
UNSHAKEN_STREAMS_MAX: Final = 32


class AdmissionGate:
    """One for the port, so that its bound holds for links and snapshots together."""

    def __init__(self, roster: Roster, *, certificates: bool) -> None:
        self._roster = roster
        self._certificates = certificates
        self._silent: Places[Patience] = Places(UNSHAKEN_STREAMS_MAX)
        self._greeted: Places[Patience] = Places(UNSHAKEN_STREAMS_MAX)

    async def welcome(
        self,
        stream: AcceptedStream,
        context: "grpc.aio.ServicerContext[bytes, bytes]",
        shake_hands: Callable[[], Awaitable[T | None]],
    ) -> T | None:
        """What `shake_hands` returns, which has a bounded time for it; None if it raises LinkLost, too."""
        hello_s = self._roster.known_peers.settings.timers.hello_s
        patience, where = Patience(hello_s), origin(context)
        stream.on_heard = lambda: self._heard(where, patience)
        try:
            async with patience:
                _take(self._silent, where, patience)
                return await shake_hands()
        except TimeoutError:
            if patience.is_ended:
                why = f"{UNSHAKEN_STREAMS_MAX} streams have not proven who they are, most of them from here; try again"
                self._turn_away(context, grpc.StatusCode.RESOURCE_EXHAUSTED, why)
            else:
                why = f"no Hello and proof within {hello_s:g} s"
                self._turn_away(context, grpc.StatusCode.DEADLINE_EXCEEDED, why)
        except LinkLost as error:
            self._turn_away(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            self._silent.leave(patience)
            self._greeted.leave(patience)
        return None

    def _heard(self, where: str, patience: Patience) -> None:
        """It has said something: silent streams no longer compete with it."""
        self._silent.leave(patience)
        if not patience.is_ended:
            _take(self._greeted, where, patience)

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


def _take(places: Places[Patience], where: str, patience: Patience) -> None:
    loser = places.take(where, patience)
    if loser is not None:
        loser.end()


def origin(context: "grpc.aio.ServicerContext[bytes, bytes]") -> str:
    """Where a stream comes from, without the port, which differs with each try."""
    return context.peer().rpartition(":")[0]


def end(context: "grpc.aio.ServicerContext[bytes, bytes]", code: grpc.StatusCode, why: str) -> None:
    """Sets the status that the handler's return will send. Not `abort`: aborted handlers upset a graceful stop."""
    context.set_code(code)
    context.set_details(why)
