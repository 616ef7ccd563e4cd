"""Keep one link to one peer up: dial, shake hands, carry, wait, dial again."""

import asyncio
import logging
import random

import grpc

from replicator.core.backoff import Backoff
from replicator.transport.handshake import Refused, hello_to, judge_acceptor, region_contradiction
from replicator.transport.options import open_channel
from replicator.transport.roster import Roster
from replicator.transport.settings import PeerAddress, TransportSettings
from replicator.transport.streams import METHOD, SERVICE, DialledStream, LinkLost, parse

_LOG = logging.getLogger(__name__)


class Dialler:
    """One task a peer; attempts are serial, so there is never more than one stream of ours to that peer."""

    def __init__(
        self,
        settings: TransportSettings,
        peer: PeerAddress,
        roster: Roster,
        credentials: grpc.ChannelCredentials | None,
        dice: random.Random,
    ) -> None:
        timers = settings.timers
        self._settings = settings
        self._peer = peer
        self._roster = roster
        self._credentials = credentials
        self._failures = Backoff(dice, min_s=timers.backoff_min_s, max_s=timers.backoff_max_s)
        self._refusals = Backoff(dice, min_s=timers.backoff_min_s, max_s=timers.refused_backoff_max_s)

    async def run(self) -> None:
        """Until the roster closes or the task is cancelled."""
        while not self._roster.is_closed:
            try:
                wait_s = await self._attempt()
            except Exception:
                _LOG.exception("dial failed peer=%s: a bug, dialling goes on", self._peer.node_id)
                wait_s = self._failures.next_s()
            if not self._roster.is_closed:
                await asyncio.sleep(wait_s)

    async def _attempt(self) -> float:
        """One channel from dial to end. Returns the seconds to wait before the next."""
        channel = open_channel(self._settings, self._peer, self._credentials)
        stream = DialledStream(channel.stream_stream(f"/{SERVICE}/{METHOD}")())
        try:
            await self._shake_hands(stream)
            return await self._carry(stream)
        except _HandshakeRefused as error:
            self._roster.refused(self._peer.node_id, str(error))
            return self._refusals.next_s()
        except LinkLost as error:
            self._roster.notices.say(self._peer.node_id, self._failure_line(str(error)))
            return self._failures.next_s()
        finally:
            try:
                await stream.abandon()  # closing the channel alone can leave a call pending for ever
            finally:
                await channel.close()

    async def _carry(self, stream: DialledStream) -> float:
        self._refusals.reset()
        link = self._roster.install(self._peer.node_id, stream)
        if link is not None:
            loop = asyncio.get_running_loop()
            up_at_s = loop.time()
            await self._roster.carry(link)
            if loop.time() - up_at_s >= self._settings.timers.stable_after_s:
                self._failures.reset()
        return self._failures.next_s()

    async def _shake_hands(self, stream: DialledStream) -> None:
        """Raises _HandshakeRefused or LinkLost."""
        timers = self._settings.timers
        try:
            async with asyncio.timeout(timers.connect_s):
                await stream.connected()
        except TimeoutError:
            raise LinkLost(f"no connection within {timers.connect_s:g} s") from None
        try:
            async with asyncio.timeout(timers.hello_s):
                await stream.write(hello_to(self._settings, self._peer.node_id).SerializeToString())
                answer = await stream.read()
        except TimeoutError:
            raise LinkLost(f"no answer to Hello within {timers.hello_s:g} s") from None
        if answer is None:
            raise LinkLost("the stream ended before an answer to Hello")
        await self._judge(stream, answer)

    async def _judge(self, stream: DialledStream, answer: bytes) -> None:
        message = parse(answer)
        body = message.WhichOneof("body")
        if body == "refusal":
            refused = Refused.from_message(message.refusal)
            raise _HandshakeRefused(f"refused by {self._where()}: {refused.reason}: {refused.message}")
        if body != "hello":
            raise LinkLost(f"unexpected {body} in place of an answer to Hello")
        verdict = judge_acceptor(self._settings, message.hello, self._peer.node_id)
        if verdict is not None:
            await self._tell(stream, verdict)
            raise _HandshakeRefused(f"refusing {self._where()}: {verdict.reason}: {verdict.message}")
        contradiction = region_contradiction(self._settings, message.hello)
        if contradiction is not None:
            self._roster.notices.say(f"region:{self._peer.node_id}", contradiction)

    async def _tell(self, stream: DialledStream, verdict: Refused) -> None:
        """Lets the other side log the refusal too; waits until it has hung up, but not for ever."""
        try:
            async with asyncio.timeout(self._settings.timers.hello_s):
                await stream.write(verdict.to_message().SerializeToString())
                await stream.end()
                while await stream.read() is not None:
                    pass
        except (TimeoutError, LinkLost):
            return  # it hangs up either way; our own log has the line

    def _where(self) -> str:
        return f"peer={self._peer.node_id} address={self._peer.address}"

    def _failure_line(self, why: str) -> str:
        if why.startswith("UNIMPLEMENTED"):
            remedy = "no peer port listens there, correct the address in cluster.members"
        elif self._credentials is not None and "onnect: " not in why and "refused" not in why:
            remedy = (
                f"trying again; if it persists, the other side may lack TLS, share no CA or not be {self._peer.node_id}"
            )
        else:
            remedy = "trying again"
        return f"cannot link {self._where()}: {why}; {remedy}"


class _HandshakeRefused(Exception):
    """One side refused the other. The text is the log line."""
