"""Which runs of its peers' data directories a node has linked, for the transport: kept by storage."""

import asyncio

from replicator.model.errors import StorageFailed
from replicator.model.ids import NodeId
from replicator.model.incarnation import KnownIncarnation
from replicator.storage import Storage, StorageWriter
from replicator.storage.failures import DiskFull
from replicator.transport.ports import IncarnationNotKept


class KnownRuns:
    """Implements transport.IncarnationMemory. Read from disk once for each peer: handshakes must not wait for it."""

    def __init__(self, storage: Storage, writer: StorageWriter) -> None:
        self._storage, self._writer = storage, writer
        self._met: dict[NodeId, KnownIncarnation] = {}

    def known(self, node_id: NodeId) -> KnownIncarnation | None:
        """See IncarnationMemory."""
        held = self._met.get(node_id)
        if held is None:
            held = self._storage.known_incarnation(node_id)
            if held is not None:  # a name that was never linked proves nothing, and is not stored
                self._met[node_id] = held
        return held

    async def note(self, node_id: NodeId, run: KnownIncarnation) -> None:
        """See IncarnationMemory."""
        noting = asyncio.ensure_future(self._writer.note_incarnation(node_id, run))
        # What is on disk counts, also if the handshake that asked is over by then: a copy must not pass in between.
        noting.add_done_callback(lambda _: self._met.pop(node_id, None))
        try:
            await asyncio.shield(noting)
        except (DiskFull, StorageFailed) as error:
            raise IncarnationNotKept(str(error)) from error
