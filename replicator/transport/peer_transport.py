"""The transport as the rest of the node sees it."""

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from replicator.certificates.grpc_credentials import server_credentials
from replicator.config.relations import is_loopback
from replicator.model.errors import StartupError
from replicator.model.ids import NodeId
from replicator.model.members import Membership
from replicator.transport.acceptor import Acceptor
from replicator.transport.handshake.known_peers import KnownPeers
from replicator.transport.handshake.node_certificates import PeerCredentials
from replicator.transport.links.dialling import Dialling
from replicator.transport.links.introductions import Introductions
from replicator.transport.links.roster import Roster
from replicator.transport.ports import FRAME_BYTES_MAX, IncarnationMemory, LinkSink, LinkStatus, SnapshotSource
from replicator.transport.settings import TransportSettings
from replicator.transport.snapshots.snapshot_client import SnapshotFetches, Wanted

_LOG = logging.getLogger(__name__)

STOP_SPARE_S: Final = 3.0  # beyond the grace, for cancelled streams to unwind


class PeerTransport:
    """All links of one node. Start, stop and send on one running loop."""

    def __init__(
        self,
        settings: TransportSettings,
        sink: LinkSink,
        dice: random.Random,
        membership: Membership,
        memory: IncarnationMemory,
    ) -> None:
        self._settings = settings
        self._dice = dice
        self._roster = Roster(KnownPeers(settings, membership), sink)
        self._introductions = Introductions(self._roster, memory)
        self._acceptor: Acceptor | None = None
        self._dialling: Dialling | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._bound_port: int | None = None
        self._source: SnapshotSource | None = None
        self._fetches: SnapshotFetches | None = None

    @property
    def bound_port(self) -> int:
        """The port of this node's peer address, as bound."""
        assert self._bound_port is not None, "start first"
        return self._bound_port

    def serve_snapshots(self, source: SnapshotSource) -> None:
        """Lets peers fetch what `source` holds. Before `start`. Without it, nobody can ask."""
        assert self._acceptor is None, "the peer port opens with all its methods"
        self._source = source

    async def start(self) -> None:
        """Binds, then dials. Raises StartupError, one line naming the field, and leaves nothing behind."""
        assert self._acceptor is None, "a transport starts once"
        settings = self._settings
        if settings.tls is None and not is_loopback(settings.listen):
            raise StartupError(
                f"listen.peer: {settings.listen} is not loopback, and the peer port is plaintext: "
                "configure [tls], or bind 127.0.0.1"
            )
        tls = settings.tls
        shown = None if tls is None else server_credentials(lambda: tls.current.peer, require_client=True)
        self._acceptor = Acceptor(self._roster, self._introductions, shown, self._source)
        try:
            self._bound_port = await self._acceptor.start()
        except BaseException:
            await self._acceptor.stop()
            raise
        credentials = None if tls is None else PeerCredentials(tls, settings.cluster_id)
        self._fetches = SnapshotFetches(self._roster, self._introductions, credentials, self._dice)
        if not self._roster.is_closed:  # stopped while it bound
            self._dialling = Dialling(self._roster, self._introductions, credentials, self._dice)
            self._dialling.follow()

    def set_membership(self, membership: Membership) -> None:
        """The group is now this: dials who is new or has moved, takes down who is gone. On the loop, at any time.

        A link that is up is checked again, and stays if its peer would be accepted now. One that was dialled at an
        address that has changed stays until the new one is reached.
        """
        self._follow(replace(self._roster.known_peers, membership=membership))

    def set_guide(self, guide: Membership) -> None:
        """Dials those too whom this membership names, until one as new is set: a node that joins was told of it."""
        self._follow(replace(self._roster.known_peers, guide=guide))

    def _follow(self, known_peers: KnownPeers) -> None:
        self._roster.follow(known_peers)
        if self._dialling is not None and not self._roster.is_closed:
            self._dialling.follow()

    def send(self, peer: NodeId, payload: bytes, *, for_caller: bool = False) -> bool:
        """Queues one frame; never blocks. False when there is no link, or its queue is full. for_caller: see SendQueue.

        True is no promise of delivery: frames that wait when a link goes down are gone with it.
        Raises ValueError for a frame beyond FRAME_BYTES_MAX: a caller's bug.
        """
        if len(payload) > FRAME_BYTES_MAX:
            raise ValueError(f"a frame has at most {FRAME_BYTES_MAX} bytes, got {len(payload)}")
        link = self._roster.current(peer)
        return link is not None and link.queue.add(payload, for_caller=for_caller)

    def drop(self, peer: NodeId, epoch: int, why: str) -> None:
        """Ends the link of that epoch, if it is still the current one; a new one is dialled as after any loss."""
        link = self._roster.current(peer)
        if link is not None and link.epoch == epoch:
            self._roster.retire(link, why)
            link.cut(why)

    def condemn(self, peer: NodeId, epoch: int, why: str) -> None:
        """Ends the link of that epoch and never links that run of the peer's directory again; the peer is told so.

        why: what it no longer holds, although it acknowledged it.
        """
        link = self._roster.current(peer)
        if link is not None and link.epoch == epoch:
            self._introductions.condemn(link.said, why)
            self.drop(peer, epoch, f"its data are lost: {why}")

    async def fetch_snapshot(
        self, peer: NodeId, snapshot_id: str, *, target: Path, size_bytes: int, timeout_s: float
    ) -> None:
        """Brings a snapshot's file of `size_bytes` from `peer` into `target`, resuming what is there already.

        Tries again until it is whole, `timeout_s` is over, or no byte has come for snapshot_silence_s. Any peer may be
        asked. The caller checks the digest and makes the file durable; no two fetches may share a target.
        Raises SnapshotUnavailable.
        """
        assert self._fetches is not None, "start first"
        await self._fetches.fetch(peer, Wanted(snapshot_id, target, size_bytes), timeout_s)

    def links(self) -> Mapping[NodeId, LinkStatus]:
        """Every member and contact, linked or not, and the other nodes that are linked."""
        return self._roster.status()

    def linked_at(self) -> Mapping[NodeId, str]:
        """Of those peers whose link was dialled elsewhere than where the group knows them: where."""
        return {peer: status.linked_at for peer, status in self._roster.status().items() if status.linked_at}

    async def stop(self, grace_s: float) -> None:
        """Takes all links down, gives what is queued up to grace_s to leave, then closes. Bounded, idempotent."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(grace_s), name="transport-stop")
        await asyncio.shield(self._stopping)

    async def _stop(self, grace_s: float) -> None:
        if self._acceptor is not None:
            self._acceptor.end_snapshots()
        if self._fetches is not None:
            self._fetches.close()
        links = self._roster.close()
        endings = [asyncio.create_task(link.ended()) for link in links]
        if endings:
            await asyncio.wait(endings, timeout=grace_s)
        for link in links:
            link.cut("this node stops")
        for task in endings:
            task.cancel()
        ending = {*endings, *(self._dialling.cancel() if self._dialling is not None else ())}
        if ending:
            await asyncio.wait(ending, timeout=STOP_SPARE_S)
        if self._fetches is not None:
            await self._fetches.ended(STOP_SPARE_S)
        if self._acceptor is not None:
            try:
                async with asyncio.timeout(STOP_SPARE_S):
                    await self._acceptor.stop()
            except TimeoutError:
                _LOG.error("peer port not closed within %g s: a frame is still being handled; continuing", STOP_SPARE_S)
