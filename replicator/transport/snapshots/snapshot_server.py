"""Send a snapshot's file to a peer that asks for it, beside the links and never at their cost.

One stream a fetch, on the fetcher's own connection; read off the loop, a few chunks ahead, at a bounded rate.
"""

import asyncio
import logging
import re
from collections import deque
from pathlib import Path
from typing import Final, TypeAlias

import grpc

from replicator.model.patience import Patience
from replicator.transport.compression import Compressor, is_compressed_to
from replicator.transport.handshake.known_peers import Introduction
from replicator.transport.handshake.verdicts import shown
from replicator.transport.links.admission_gate import AdmissionGate, end, origin
from replicator.transport.links.introductions import HandshakeRefused, Introductions
from replicator.transport.links.roster import Roster
from replicator.transport.ports import SNAPSHOT_STREAMS_MAX, SnapshotSource
from replicator.transport.snapshots.chunks import FileThread, SnapshotReader
from replicator.transport.snapshots.pacer import Pacer
from replicator.transport.streams import AcceptedStream, LinkLost, parse
from replicator.v1 import peer_pb2

_LOG = logging.getLogger(__name__)
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@=+-]{0,127}")  # no way out of a folder

READ_AHEAD_CHUNKS: Final = 2

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


class SnapshotServer:
    """Invariant: at most SNAPSHOT_STREAMS_MAX streams hold a file open."""

    def __init__(
        self, roster: Roster, gate: AdmissionGate, introductions: Introductions, source: SnapshotSource
    ) -> None:
        self._settings = settings = roster.known_peers.settings
        self._secret_of_group = roster.secret_of_group
        self._introductions = introductions
        self._gate = gate
        self._source = source
        self._pacer = Pacer(settings.snapshot_bytes_per_s)
        self._sendings: set[Patience] = set()
        self._closed = False

    def close(self) -> None:
        """Ends every stream, soon, and takes no more."""
        self._closed = True
        for patience in self._sendings:
            patience.end()

    async def serve(self, context: Context) -> None:
        """One fetch, from its request to its status."""
        stream = AcceptedStream(context)
        admitted = await self._gate.welcome(stream, context, lambda: self._admit(stream, context))
        if admitted is None:
            return
        said, request = admitted
        path = self._find(request.snapshot_id)
        if self._closed:
            end(context, grpc.StatusCode.UNAVAILABLE, "this node stops")
        elif path is None:
            end(context, grpc.StatusCode.NOT_FOUND, f"no snapshot {shown(request.snapshot_id)} is held here")
        elif len(self._sendings) >= SNAPSHOT_STREAMS_MAX:
            why = f"{SNAPSHOT_STREAMS_MAX} snapshots are being sent already; try again"
            end(context, grpc.StatusCode.RESOURCE_EXHAUSTED, why)
        else:
            await self._send_within_bounds(stream, context, path, said, request)

    async def _admit(
        self, stream: AcceptedStream, context: Context
    ) -> "tuple[Introduction, peer_pb2.FetchSnapshotRequest] | None":
        """The request of a peer that may ask; None if it was refused. Raises LinkLost."""
        try:
            said = await self._introductions.accept(
                stream, lambda hello: self._gate.judge_certificate(hello, context), for_link=False
            )
        except HandshakeRefused as error:
            who = shown(error.peer)
            by = "by" if error.is_by_peer else "to"
            self._gate.say(f"fetch:{who}", f"a snapshot is refused {by} peer={who} from={origin(context)}: {error}")
            return None
        message = await stream.read()
        if message is None:
            raise LinkLost("the stream ended before a request")
        request = parse(message)
        if request.WhichOneof("body") != "fetch":
            raise LinkLost(f"unexpected {request.WhichOneof('body')} in place of a request")
        return said, request.fetch

    def _find(self, snapshot_id: str) -> Path | None:
        if _ID.fullmatch(snapshot_id) is None:
            return None
        return self._source.snapshot_file(snapshot_id)

    async def _send_within_bounds(
        self,
        stream: AcceptedStream,
        context: Context,
        path: Path,
        said: Introduction,
        request: peer_pb2.FetchSnapshotRequest,
    ) -> None:
        what = f"snapshot={request.snapshot_id} peer={said.peer}"
        is_smaller = is_compressed_to(self._settings, said)
        compressor = Compressor(self._secret_of_group) if is_smaller else None
        silence_s = self._settings.timers.snapshot_silence_s
        patience = Patience(silence_s)
        self._sendings.add(patience)
        try:
            async with patience:
                sending = _Sending(stream, context, self._pacer, patience)
                await sending.run(SnapshotReader(path, request.offset, compressor))
                _LOG.info("sent %s from=%d", what, request.offset)
        except TimeoutError:
            why = "this node stops" if self._closed else f"no chunk could be sent for {silence_s:g} s"
            code = grpc.StatusCode.UNAVAILABLE if self._closed else grpc.StatusCode.DEADLINE_EXCEEDED
            _LOG.info("gave up sending %s: %s", what, why)
            end(context, code, why)
        except LinkLost as error:
            _LOG.info("gave up sending %s: %s", what, error)
        except OSError as error:
            self._unreadable(context, request.snapshot_id, error)
        finally:
            self._sendings.discard(patience)

    def _unreadable(self, context: Context, snapshot_id: str, error: OSError) -> None:
        if isinstance(error, FileNotFoundError):  # deleted since it was found
            end(context, grpc.StatusCode.NOT_FOUND, f"snapshot {shown(snapshot_id)} is no longer held here")
            return
        _LOG.error("cannot read snapshot=%s: %s", snapshot_id, error)
        end(context, grpc.StatusCode.INTERNAL, f"snapshot {shown(snapshot_id)} cannot be read: {error.strerror}")


class _Sending:
    """One file to one peer."""

    def __init__(self, stream: AcceptedStream, context: Context, pacer: Pacer, patience: Patience) -> None:
        self._stream = stream
        self._context = context
        self._pacer = pacer
        self._patience = patience

    async def run(self, reader: SnapshotReader) -> None:
        """Raises OSError, LinkLost."""
        async with FileThread("snapshot-read", reader.close) as thread:
            size_bytes = await thread.begin(reader.open)
            if reader.offset > size_bytes:
                why = f"offset {reader.offset} is beyond the snapshot's {size_bytes} bytes"
                end(self._context, grpc.StatusCode.OUT_OF_RANGE, why)
                return
            await self._send(reader, thread)

    async def _send(self, reader: SnapshotReader, thread: FileThread) -> None:
        ahead = deque(thread.begin(reader.next) for _ in range(READ_AHEAD_CHUNKS))
        try:
            while (message := await ahead.popleft()) is not None:
                ahead.append(thread.begin(reader.next))
                await self._send_chunk(message)
        finally:
            for reading in ahead:
                reading.cancel()

    async def _send_chunk(self, message: bytes) -> None:
        pause_s = self._pacer.wait_s(asyncio.get_running_loop().time(), len(message))
        self._patience.progress(pause_s)
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        await self._stream.write(message)
