"""One established stream to one peer: a reader that feeds the sink, a writer that empties the queue."""

import asyncio
from dataclasses import dataclass

from replicator.transport.handshake.known_peers import Introduction
from replicator.transport.handshake.verdicts import Refused
from replicator.transport.links.frame_codec import FrameCodec, bytes_on_link
from replicator.transport.links.send_queue import SendQueue
from replicator.transport.ports import LinkSink
from replicator.transport.streams import ByteStream, LinkLost, parse


@dataclass(slots=True)
class LinkCounters:
    """Of one peer, over all its links. Bytes of frames as they travel; bytes_saved: by compressing those sent."""

    links: int = 0
    frames_sent: int = 0
    frames_received: int = 0
    frames_dropped: int = 0
    bytes_sent: int = 0
    bytes_saved: int = 0
    bytes_received: int = 0


class LinkRefused(LinkLost):
    """The peer refused us after the handshake: it did not like our answer to its Hello."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(f"{refused.reason}: {refused.message}")
        self.refused = refused


class Link:
    """Lives from the end of the handshake to the end of the stream.

    Invariant: while `live`, and only then, frames reach the sink; `Roster` alone clears it, with link_down.
    """

    def __init__(
        self,
        said: Introduction,
        stream: ByteStream,
        sink: LinkSink,
        counters: LinkCounters,
        *,
        codec: FrameCodec,
        queue_bytes_max: int,
        address: str = "",
    ) -> None:
        """address: where this node dialled it; empty if the peer did."""
        self.said = said
        self.peer = said.peer
        self.address = address
        self.epoch = 0  # given by the roster when the link is installed
        self.live = False
        self.queue = SendQueue(queue_bytes_max)
        self._stream = stream
        self._sink = sink
        self._counters = counters
        self._codec = codec
        self._cut: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_dialled(self) -> bool:
        """By this node; else by the peer."""
        return self._stream.is_dialled

    async def ended(self) -> None:
        """Returns once `run` is over."""
        await asyncio.wait((self._over,))

    def cut(self, why: str) -> None:
        """Ends `run` soon, whatever waits to be written."""
        if not self._cut.done():
            self._cut.set_result(why)

    async def run(self) -> str:
        """Carries frames until the stream ends or is cut; returns why. Leaves no task behind.

        Raises LinkLost if the stream breaks, and whatever the sink raises.
        """
        reader = asyncio.create_task(self._read_all(), name=f"link-read-{self.peer}-{self.epoch}")
        writer = asyncio.create_task(self._write_all(), name=f"link-write-{self.peer}-{self.epoch}")
        try:
            await asyncio.wait((reader, writer, self._cut), return_when=asyncio.FIRST_COMPLETED)
            if _is_fine(writer) and self._stream.is_dialled:  # queue closed and empty: let the other side end in order
                await asyncio.wait((reader, self._cut), return_when=asyncio.FIRST_COMPLETED)
            return self._why(reader, writer)
        finally:
            reader.cancel()
            writer.cancel()
            try:
                await asyncio.gather(reader, writer, return_exceptions=True)
            finally:
                self._counters.frames_dropped += self.queue.queued_frames
                self._over.set_result(None)

    def _why(self, reader: "asyncio.Task[str]", writer: "asyncio.Task[None]") -> str:
        if self._cut.done():
            return self._cut.result()
        if reader.done() and not reader.cancelled():
            return reader.result()
        if writer.done() and not writer.cancelled():
            writer.result()
            return "all frames are written"
        return "the stream was cancelled"

    async def _read_all(self) -> str:
        while (message := await self._stream.read()) is not None:
            parsed = parse(message)
            body = parsed.WhichOneof("body")
            if body == "refusal":
                is_by_group = self.said.is_proven  # the link itself is proven, by the cluster at least
                raise LinkRefused(Refused.from_message(parsed.refusal, is_proven=True, is_by_group=is_by_group))
            if body not in ("frame", "compressed"):
                raise LinkLost(f"unexpected {body} on an established link")
            if not self.live:  # superseded or stopping: drop what is still under way
                continue
            self._counters.frames_received += 1
            self._counters.bytes_received += bytes_on_link(parsed)
            frame = parsed.frame if body == "frame" else await self._codec.frame(parsed.compressed)
            if self.live:  # as before: decompressing may have waited
                await self._sink.frame(self.peer, self.epoch, frame)
        return "the peer ended the stream"

    async def _write_all(self) -> None:
        while (payload := await self.queue.first()) is not None:
            message = await self._codec.message(payload)
            await self._stream.write(message.SerializeToString())
            self.queue.written()
            bytes_sent = bytes_on_link(message)
            self._counters.frames_sent += 1
            self._counters.bytes_sent += bytes_sent
            self._counters.bytes_saved += len(payload) - bytes_sent
        await self._stream.end()


def _is_fine(task: "asyncio.Task[None]") -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
