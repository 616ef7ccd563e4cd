"""Keep one link to one peer up: dial, shake hands, carry, wait, dial again.

The greater id of a pair dials whenever there is no link. The lesser one gives it a while, then dials too: the other may
not know it yet, or not reach it. `Roster` decides which of two streams stays, `AddressTurns` which address is dialled.
"""

import asyncio
import contextlib
import logging
import random

import grpc

from replicator.transport.handshake.known_peers import Introduction
from replicator.transport.handshake.node_certificates import PeerCredentials
from replicator.transport.links.address_turns import AddressTurns
from replicator.transport.links.introductions import HandshakeRefused, Introductions, Objected
from replicator.transport.links.link import Link
from replicator.transport.links.roster import Roster, dial_key
from replicator.transport.options import open_channel
from replicator.transport.settings import PeerAddress
from replicator.transport.streams import METHOD, SERVICE, DialledStream, LinkLost

_LOG = logging.getLogger(__name__)


class Dialler:
    """One task a peer; attempts are serial, so there is never more than one stream of ours to it."""

    def __init__(
        self,
        peer: PeerAddress,
        roster: Roster,
        introductions: Introductions,
        credentials: PeerCredentials | None,
        dice: random.Random,
    ) -> None:
        timers = roster.known_peers.settings.timers
        self._peer = peer
        self._roster = roster
        self._introductions = introductions
        self._timers = timers
        self._credentials = credentials
        self._turns = AddressTurns(peer.addresses, dice, timers)
        self._task: asyncio.Task[None] | None = None
        self._due_s = 0.0  # of the loop's clock: no attempt before
        self._wake = asyncio.Event()  # something changed that a wait depends on
        self._attempting = False
        self._link: Link | None = None  # the one that runs over our stream
        self._is_refused = False
        self._ended = False
        current = roster.current(peer.node_id)
        # A link that was dialled at an earlier address of the peer: it stays until the first one of now is reached.
        is_elsewhere = current is not None and current.is_dialled and current.address != peer.address
        self._outdated = current if is_elsewhere else None

    @property
    def addresses(self) -> tuple[str, ...]:
        """HOST:PORT of each."""
        return self._peer.addresses

    def start(self) -> "asyncio.Task[None]":
        """Dials until `end`, or until the roster closes or the task is cancelled."""
        assert self._task is None, "a dialler starts once"
        self._due_s = self._now_s() + self._courtesy_s()
        self._task = asyncio.create_task(self._run(), name=f"dial-{self._peer.node_id}")
        return self._task

    def end(self) -> None:
        """Dials no more; a link that runs over our stream goes on, and the task ends with it."""
        assert self._task is not None, "start first"
        self._ended = True
        if self._link is None:
            self._task.cancel()

    def encourage(self) -> None:
        """What the last refusal was about may have changed: tries at once, if there was one."""
        if self._is_refused:
            self._turns.pardon()
            self._due_s = self._now_s()
            self._wake.set()

    def vacant(self) -> None:
        """The peer's link is down, from whichever side it was dialled."""
        if not self._attempting:  # an attempt says itself when the next is due
            self._due_s = self._now_s() + max(self._turns.pause_s(), self._courtesy_s())
        self._wake.set()

    async def _run(self) -> None:
        while not self._ended and not self._roster.is_closed:
            wait_s = None if self._is_linked() else max(0.0, self._due_s - self._now_s())
            if wait_s == 0.0:
                await self._try()
            else:
                await self._sleep(wait_s)

    async def _sleep(self, wait_s: float | None) -> None:
        """Until something changes, for wait_s at most."""
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._wake.wait()

    async def _try(self) -> None:
        self._attempting = True
        try:
            wait_s = await self._attempt()
        except Exception:
            _LOG.exception("dial failed peer=%s: a bug, dialling goes on", self._peer.node_id)
            wait_s = self._turns.failed(self._now_s())
        finally:
            self._attempting = False
        self._due_s = self._now_s() + wait_s

    async def _attempt(self) -> float:
        """One channel from dial to end. Returns the seconds to wait before the next."""
        settings, peer = self._roster.known_peers.settings, self._peer.node_id
        channel = open_channel(settings, peer, self._turns.address, self._credentials)
        stream = DialledStream(channel.stream_stream(f"/{SERVICE}/{METHOD}")())
        try:
            said = await self._shake_hands(stream)
            if said is None or self._roster.objection_to(said, dialled=True) is not None:
                return self._after_link_s()
            return await self._carry(said, stream)
        except HandshakeRefused as error:
            self._is_refused = True
            number = self._turns.number
            if error.is_by_peer:
                self._roster.refused_by(peer, f"refused by {self._where()}", error.refused, number=number)
            else:
                self._roster.refused(peer, f"refusing {self._where()}", error.refused, number=number)
            return self._turns.refused(self._now_s(), stays=self._has_outdated())
        except LinkLost as error:
            was_quicker = self._is_linked() or error.code is grpc.StatusCode.ALREADY_EXISTS  # the peer
            if not was_quicker:
                self._roster.log_once.say(dial_key(peer, self._turns.number), self._failure_line(str(error)))
            return self._turns.failed(self._now_s(), stays=was_quicker or self._has_outdated())
        finally:
            try:
                await stream.abandon()  # closing the channel alone can leave a call pending for ever
            finally:
                await channel.close()

    async def _carry(self, said: Introduction, stream: DialledStream) -> float:
        self._is_refused = False
        self._turns.welcomed()
        up_at_s = self._now_s()
        self._link = self._roster.install(said, stream, self._turns.address)
        try:
            await self._roster.carry(self._link)
        finally:
            self._link = self._outdated = None
        if self._now_s() - up_at_s >= self._timers.stable_after_s:
            self._turns.held()
        elif not self._is_linked():  # else a newer stream has taken over
            return max(self._turns.failed(self._now_s()), self._courtesy_s())
        return self._after_link_s()

    async def _shake_hands(self, stream: DialledStream) -> Introduction | None:
        """None if there is no place for our stream: the peer was quicker. Raises HandshakeRefused or LinkLost."""
        timers = self._timers
        try:
            async with asyncio.timeout(timers.connect_s):
                await stream.connected()
        except TimeoutError:
            raise LinkLost(f"no connection within {timers.connect_s:g} s") from None
        if self._is_linked():
            return None
        try:
            async with asyncio.timeout(timers.hello_s):
                return await self._introductions.dial(stream, self._peer.node_id)
        except TimeoutError:
            raise LinkLost(f"no answer to Hello within {timers.hello_s:g} s") from None
        except Objected:
            return None
        except HandshakeRefused as error:
            if not error.is_by_peer:
                await self._hang_up(stream)
            raise

    async def _hang_up(self, stream: DialledStream) -> None:
        """Waits until the other side has read our refusal and hung up, but not for ever."""
        try:
            async with asyncio.timeout(self._timers.hello_s):
                await stream.end()
                while await stream.read() is not None:
                    pass
        except (TimeoutError, LinkLost):
            return  # it hangs up either way; our own log has the line

    def _is_linked(self) -> bool:
        link = self._roster.current(self._peer.node_id)
        return link is not None and link is not self._outdated

    def _has_outdated(self) -> bool:
        """Then only the first address is news: a second link to another one of the peer would be none the better."""
        return self._outdated is not None and self._roster.current(self._peer.node_id) is self._outdated

    def _courtesy_s(self) -> float:
        """How long the peer is given to dial first. One that our membership does not name may not know us either.

        Who belongs to no group yet dials at once: the peer may belong to one, and is to be heard before another begins.
        """
        known_peers = self._roster.known_peers
        knows_us = known_peers.is_member(self._peer.node_id) and known_peers.membership.founder
        return self._timers.late_dial_s if knows_us and known_peers.settings.node_id < self._peer.node_id else 0.0

    def _after_link_s(self) -> float:
        return max(self._turns.pause_s(), self._courtesy_s())

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def _where(self) -> str:
        return f"peer={self._peer.node_id} address={self._turns.address}"

    def _failure_line(self, why: str) -> str:
        if why.startswith("UNIMPLEMENTED"):
            whose = "of this node's own file" if self._turns.number else "that the group knows"
            remedy = f"no peer port listens there, correct the address {whose}"
        elif self._credentials is not None:
            remedy = self._credentials.why_failed(self._peer.node_id, why) or "trying again"
        else:
            remedy = "trying again"
        return f"cannot link {self._where()}: {why}; {remedy}"
