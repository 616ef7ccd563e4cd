"""Fetch a snapshot's file from a peer: ask, check each chunk, write it, and ask again where it broke off.

Each try has a connection of its own, so that no frame of a link ever queues behind a snapshot's bytes.
"""

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from replicator.core.backoff import Backoff
from replicator.model.ids import NodeId
from replicator.model.patience import Patience
from replicator.transport.compression import Decompressor, taken_codecs
from replicator.transport.handshake.node_certificates import PeerCredentials
from replicator.transport.handshake.verdicts import printable
from replicator.transport.links.introductions import HandshakeRefused, Introductions
from replicator.transport.links.roster import Roster
from replicator.transport.options import open_channel
from replicator.transport.ports import FetchFailure, SnapshotUnavailable
from replicator.transport.snapshots.chunks import BadChunk, FileThread, SnapshotWriter
from replicator.transport.streams import FETCH_METHOD, SERVICE, DialledStream, LinkLost
from replicator.v1 import peer_pb2

_LOG = logging.getLogger(__name__)

# What another try would not change. Anything else (busy, stopping, cut) passes.
FINAL: Final[Mapping[grpc.StatusCode, FetchFailure]] = {
    grpc.StatusCode.NOT_FOUND: FetchFailure.GONE,
    grpc.StatusCode.OUT_OF_RANGE: FetchFailure.WRONG_SIZE,
    grpc.StatusCode.PERMISSION_DENIED: FetchFailure.REFUSED,
    grpc.StatusCode.INVALID_ARGUMENT: FetchFailure.REFUSED,
    grpc.StatusCode.UNIMPLEMENTED: FetchFailure.REFUSED,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A snapshot, where its bytes go, and how many there are."""

    snapshot_id: str
    target: Path
    size_bytes: int


class SnapshotFetches:
    """All that this node fetches. Each runs in its caller's task."""

    def __init__(
        self,
        roster: Roster,
        introductions: Introductions,
        credentials: PeerCredentials | None,
        dice: random.Random,
    ) -> None:
        self._roster = roster
        self._introductions = introductions
        self._credentials = credentials
        self._dice = dice
        self._running: dict[Path, tuple[Patience, asyncio.Future[None]]] = {}
        self._closed = False

    async def fetch(self, peer: NodeId, wanted: Wanted, timeout_s: float) -> None:
        """See PeerTransport.fetch_snapshot."""
        timers = self._roster.known_peers.settings.timers
        if self._closed:
            raise _stopping()
        assert wanted.target not in self._running, "no two fetches share a target"
        patience = Patience(timers.snapshot_silence_s, timeout_s)
        over = asyncio.get_running_loop().create_future()
        self._running[wanted.target] = patience, over
        fetch = _Fetch(self._roster, self._introductions, peer, self._credentials, wanted=wanted, patience=patience)
        try:
            await fetch.run(Backoff(self._dice, min_s=timers.backoff_min_s, max_s=timers.backoff_max_s))
            _LOG.info("fetched snapshot=%s from peer=%s bytes=%d", wanted.snapshot_id, peer, wanted.size_bytes)
        except SnapshotUnavailable as error:
            _LOG.warning("no snapshot=%s from peer=%s: %s", wanted.snapshot_id, peer, error)
            raise
        finally:
            del self._running[wanted.target]
            over.set_result(None)

    def close(self) -> None:
        """Ends every fetch, soon, and begins no more."""
        self._closed = True
        for patience, _ in self._running.values():
            patience.end()

    async def ended(self, timeout_s: float) -> None:
        """Returns once every fetch has ended, or after `timeout_s`."""
        if self._running:
            await asyncio.wait([over for _, over in self._running.values()], timeout=timeout_s)


class _Fetch:
    """One file from one peer, over as many streams as it takes."""

    def __init__(
        self,
        roster: Roster,
        introductions: Introductions,
        peer: NodeId,
        credentials: PeerCredentials | None,
        *,
        wanted: Wanted,
        patience: Patience,
    ) -> None:
        self._roster = roster
        self._introductions = introductions
        self._peer = peer
        self._credentials = credentials
        self._wanted = wanted
        self._patience = patience
        decompressor = Decompressor() if taken_codecs(roster.known_peers.settings) else None
        self._writer = SnapshotWriter(wanted.target, wanted.size_bytes, decompressor)
        self._last_failure = "nothing was heard of it"
        self._failed = 0  # attempts in a row, which tells the address of the next one
        self._refused_at: set[str] = set()

    async def run(self, backoff: Backoff) -> None:
        """Raises SnapshotUnavailable."""
        async with FileThread("snapshot-write", self._writer.close) as thread:
            try:
                async with self._patience:
                    await thread.begin(self._writer.open)
                    await self._until_whole(thread, backoff)
            except TimeoutError:
                if not self._writer.is_whole():  # else only the end of the stream was missing
                    raise self._out_of_patience() from None
            except SnapshotUnavailable as error:
                if error.reason is FetchFailure.WRONG_SIZE:
                    await thread.begin(self._writer.discard)
                raise

    async def _until_whole(self, thread: FileThread, backoff: Backoff) -> None:
        while not self._writer.is_whole():
            held_bytes = self._writer.held_bytes
            try:
                await self._attempt(thread)
            except (LinkLost, BadChunk) as error:
                self._last_failure = printable(str(error))
            if self._writer.is_whole():
                return
            if self._writer.held_bytes > held_bytes:
                backoff.reset()
                self._refused_at.clear()
            else:
                self._failed += 1
            _LOG.info("snapshot=%s from peer=%s broke off at byte %d: %s", self._wanted.snapshot_id,
                      self._peer, self._writer.held_bytes, self._last_failure)  # fmt: skip
            await asyncio.sleep(backoff.next_s())

    async def _attempt(self, thread: FileThread) -> None:
        """One stream from the first byte not held. Raises LinkLost, BadChunk, SnapshotUnavailable."""
        addresses = self._addresses()
        address = addresses[self._failed % len(addresses)]
        channel = open_channel(self._roster.known_peers.settings, self._peer, address, self._credentials)
        stream = DialledStream(channel.stream_stream(f"/{SERVICE}/{FETCH_METHOD}")())
        try:
            await self._receive(stream, thread)
        except HandshakeRefused as error:
            raise self._refused(address, addresses, error) from error
        except LinkLost as error:
            reason = FINAL.get(error.code) if error.code is not None else None
            if reason is None:
                raise
            if reason is FetchFailure.REFUSED:
                raise self._refused(address, addresses, error) from error
            raise SnapshotUnavailable(reason, printable(str(error))) from error
        finally:
            try:
                await stream.abandon()
            finally:
                await channel.close()

    def _refused(self, address: str, addresses: tuple[str, ...], error: Exception) -> Exception:
        """Final only once each address has refused: another one may lead to the peer itself."""
        self._refused_at.add(address)
        if self._refused_at.issuperset(addresses):
            return SnapshotUnavailable(FetchFailure.REFUSED, printable(str(error)))
        return LinkLost(str(error))

    async def _receive(self, stream: DialledStream, thread: FileThread) -> None:
        timers = self._roster.known_peers.settings.timers
        answer_s = timers.connect_s + timers.hello_s
        try:
            async with asyncio.timeout(answer_s):
                await stream.connected()
                await self._introductions.dial(stream, self._peer, for_link=False)
                await stream.write(self._request())
                await stream.end()
        except TimeoutError:
            raise LinkLost(f"no answer within {answer_s:g} s") from None
        while (message := await stream.read()) is not None:
            await thread.begin(self._writer.take, message)
            self._patience.progress()
        if not self._writer.is_whole():
            why = f"{self._writer.held_bytes} bytes, {self._wanted.size_bytes} were announced"
            raise SnapshotUnavailable(FetchFailure.WRONG_SIZE, why)

    def _addresses(self) -> tuple[str, ...]:
        """As the membership says now, first the one that a link of ours runs over.

        Raises SnapshotUnavailable: a membership that comes later may not know it.
        """
        address = self._roster.known_peers.address_of(self._peer)
        if address is None:
            why = f"node {self._peer} is not known here by an address: no current membership names it"
            raise SnapshotUnavailable(FetchFailure.GONE, why)
        link = self._roster.current(self._peer)
        return tuple(sorted(address.addresses, key=lambda each: link is None or each != link.address))

    def _request(self) -> bytes:
        request = peer_pb2.FetchSnapshotRequest(snapshot_id=self._wanted.snapshot_id, offset=self._writer.held_bytes)
        return peer_pb2.LinkMessage(fetch=request).SerializeToString()

    def _out_of_patience(self) -> SnapshotUnavailable:
        if self._patience.is_ended:
            return _stopping()
        held = f"{self._writer.held_bytes} of {self._wanted.size_bytes} bytes are here"
        return SnapshotUnavailable(FetchFailure.TIMED_OUT, f"{held}; last: {self._last_failure}")


def _stopping() -> SnapshotUnavailable:
    return SnapshotUnavailable(FetchFailure.STOPPING, "this node stops")
