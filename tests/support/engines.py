"""Whole engines with real storage, linked in memory: what a node runs, without sockets."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from replicator.config.timing import RaftTiming
from replicator.engine.driver import RaftEngine
from replicator.engine.ports import EngineParts
from replicator.engine.settings import EngineSettings
from replicator.engine.snapshots.folders import SnapshotFiles
from replicator.model.errors import StorageFailed, Superseded
from replicator.model.ids import ClusterId, NodeId, Region
from replicator.model.log import Entry, TurnWrite
from replicator.model.members import Membership
from replicator.node.clock import SystemClock
from replicator.storage.failures import DiskFull
from replicator.storage.storage import Storage
from replicator.storage.writer import StorageWriter
from replicator.transport.ports import FetchFailure, SnapshotUnavailable
from replicator.v1 import store_pb2
from tests.support.members import SECRET, founded, voters
from tests.support.replicas import LAN, RolesSeen

QUEUE_FRAMES_MAX = 10_000


@dataclass
class Disk:
    """A storage writer whose commits can be held back, or fail."""

    writer: StorageWriter
    full: bool = False
    broken: bool = False
    flows: asyncio.Event = field(default_factory=asyncio.Event)
    commits: int = 0

    def __post_init__(self) -> None:
        self.flows.set()

    def apply(self, entries: Sequence[Entry]) -> list[list[store_pb2.BatchOutcome]]:
        return self.writer.apply(entries)

    async def commit(self, write: TurnWrite) -> list[list[store_pb2.BatchOutcome]]:
        await self.flows.wait()
        if self.full:
            raise DiskFull("no room left")
        if self.broken:
            raise StorageFailed("EIO")
        self.commits += 1
        return await self.writer.commit(write)

    async def flush(self) -> None:
        if self.full:
            raise DiskFull("no room left")
        if self.broken:
            raise StorageFailed("EIO")
        await self.writer.flush()

    async def mark_superseded(self, why: str) -> Superseded:
        return await self.writer.mark_superseded(why)

    async def install(self, prepared_dir: Path) -> None:
        await self.writer.install(prepared_dir)


@dataclass
class MemoryLinks:
    """Implements ports.EngineTransport for one engine: one queue and one reader a direction, as streams have."""

    net: "EngineNet"
    node_id: NodeId

    def send(self, peer: NodeId, payload: bytes, *, for_caller: bool) -> bool:  # one queue for all
        return self.net.carry(self.node_id, peer, payload)

    async def fetch_snapshot(
        self, peer: NodeId, snapshot_id: str, *, target: Path, size_bytes: int, timeout_s: float
    ) -> None:
        raise SnapshotUnavailable(FetchFailure.GONE, "these links carry frames only")

    def set_membership(self, membership: Membership) -> None:
        """Links are the net's to make."""

    def drop(self, peer: NodeId, epoch: int, why: str) -> None:
        raise AssertionError(f"{self.node_id} drops {peer}: {why}")

    def condemn(self, peer: NodeId, epoch: int, why: str) -> None:
        assert self.net.condemned is not None, f"{self.node_id} condemns {peer}: {why}"
        self.net.condemned.append((self.node_id, peer, why))
        self.net.unlink(self.node_id, peer)


@dataclass
class EngineNode:
    """One engine, its storage and its disk."""

    node_id: NodeId
    engine: RaftEngine
    storage: Storage
    writer: StorageWriter
    disk: Disk
    observer: RolesSeen

    async def stop(self) -> None:
        self.disk.flows.set()
        await self.engine.stop()
        await self.writer.close()
        self.storage.close()


class EngineNet:
    """Starts engines on directories and links them; everything is stopped by `stop`."""

    def __init__(
        self,
        directory: Path,
        names: Sequence[NodeId],
        *,
        regions: Mapping[NodeId, Region] | None = None,
        timing: RaftTiming = LAN,
        **settings: Any,
    ) -> None:
        self._regions, self._timing = regions, timing
        self.directory, self.names, self._settings = directory, list(names), settings
        self.nodes: dict[NodeId, EngineNode] = {}
        self._queues: dict[tuple[NodeId, NodeId], asyncio.Queue[bytes]] = {}
        self._readers: dict[tuple[NodeId, NodeId], asyncio.Task[None]] = {}
        self._epochs: dict[tuple[NodeId, NodeId], int] = {}
        self._epoch = 0
        self.condemned: list[tuple[NodeId, NodeId, str]] | None = None  # None: nobody may be; by whom, whom, why

    async def start(self, *names: NodeId) -> None:
        for name in names or self.names:
            await self._start(name)
        for name in names or self.names:
            for peer in self.nodes:
                if peer != name and (name, peer) not in self._queues:
                    self.link(name, peer)

    async def _start(self, name: NodeId) -> None:
        storage = Storage.open(self.directory / name, cluster_id=ClusterId("c"), node_id=name, size_max_bytes=1 << 26)
        writer = StorageWriter(storage)
        settings = EngineSettings(
            cluster_id="c",
            node_id=name,
            membership=founded(voters(*self.names, regions=self._regions)),  # no entry that founds it, either
            timing=self._timing,
            new_secret=lambda: SECRET,
            **self._settings,
        )
        dice = random.Random(name)
        disk, observer = Disk(writer), RolesSeen()
        engine = RaftEngine(
            settings,
            EngineParts(
                storage=storage,
                writer=disk,
                snapshots=SnapshotFiles(storage, settings),
                clock=SystemClock(),
                dice=dice,
                observer=observer,
            ),
        )
        engine.connect(MemoryLinks(self, name))
        self.nodes[name] = EngineNode(name, engine, storage, writer, disk, observer)
        await engine.start()

    def __getitem__(self, name: NodeId) -> RaftEngine:
        return self.nodes[name].engine

    def link(self, a: NodeId, b: NodeId) -> None:
        self._epoch += 1
        for me, peer in ((a, b), (b, a)):
            self._queues[me, peer] = asyncio.Queue(QUEUE_FRAMES_MAX)
            self._epochs[me, peer] = self._epoch
            self[me].link_up(peer, self._epoch, b"")  # no ids: no entry that notes them
            self._readers[me, peer] = asyncio.create_task(self._read(me, peer, self._epoch))

    def unlink(self, a: NodeId, b: NodeId) -> None:
        for me, peer in ((a, b), (b, a)):
            if self._queues.pop((me, peer), None) is not None:
                self._readers.pop((me, peer)).cancel()
                self[peer].link_down(me, self._epochs[me, peer])

    def carry(self, sender: NodeId, receiver: NodeId, payload: bytes) -> bool:
        queue = self._queues.get((sender, receiver))
        if queue is None or queue.full():
            return False
        queue.put_nowait(payload)
        return True

    async def _read(self, sender: NodeId, receiver: NodeId, epoch: int) -> None:
        queue = self._queues[sender, receiver]
        while True:
            await self[receiver].frame(sender, epoch, await queue.get())

    def leader(self) -> NodeId | None:
        """The leader of the newest term."""
        leading = [(node.engine.status().term, name) for name, node in self.nodes.items()
                   if node.engine.status().role == "leader"]  # fmt: skip
        return max(leading)[1] if leading else None

    async def stop(self) -> None:
        for node in self.nodes.values():
            await node.stop()
        for reader in self._readers.values():
            reader.cancel()
        await asyncio.gather(*self._readers.values(), return_exceptions=True)
