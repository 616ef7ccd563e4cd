"""How one link turns frames into messages and back: compressed, where both ends want it and it pays."""

import asyncio
from typing import Final

from replicator.transport.compression import (
    Compressor,
    Decompressor,
    NotDecompressed,
    SecretOfGroup,
    is_compressed_to,
    taken_codecs,
)
from replicator.transport.handshake.known_peers import Introduction
from replicator.transport.ports import FRAME_BYTES_MAX
from replicator.transport.settings import TransportSettings
from replicator.transport.streams import LinkLost
from replicator.v1 import peer_pb2

ON_LOOP_BYTES_MAX: Final = 256 << 10  # well below a millisecond; zstd lets go of the interpreter for more


class FrameCodec:
    """One caller at a time a direction: the link's writer, and its reader."""

    def __init__(self, settings: TransportSettings, said: Introduction, secret_of_group: SecretOfGroup) -> None:
        self._compressor = Compressor(secret_of_group) if is_compressed_to(settings, said) else None
        self._decompressor = Decompressor() if taken_codecs(settings) else None

    async def message(self, frame: bytes) -> peer_pb2.LinkMessage:
        """What is sent for a frame."""
        compressor = self._compressor
        if compressor is None:
            return peer_pb2.LinkMessage(frame=frame)
        if len(frame) <= ON_LOOP_BYTES_MAX:
            smaller = compressor.compressed(frame)
        else:
            smaller = await asyncio.to_thread(compressor.compressed, frame)
        if smaller is None:
            return peer_pb2.LinkMessage(frame=frame)
        compressed = peer_pb2.CompressedFrame(codec=peer_pb2.CODEC_ZSTD, size_bytes=len(frame), data=smaller)
        return peer_pb2.LinkMessage(compressed=compressed)

    async def frame(self, message: peer_pb2.CompressedFrame) -> bytes:
        """The frame that was compressed. Raises LinkLost if it is not what it says, or was not asked for."""
        if self._decompressor is None:
            raise LinkLost("a compressed frame, which this node did not offer to take")
        told = message.codec, message.data, message.size_bytes, FRAME_BYTES_MAX
        try:
            if message.size_bytes <= ON_LOOP_BYTES_MAX:
                return self._decompressor.decompressed(*told)
            return await asyncio.to_thread(self._decompressor.decompressed, *told)
        except NotDecompressed as error:
            raise LinkLost(f"invalid compressed frame: {error}") from None


def bytes_on_link(message: peer_pb2.LinkMessage) -> int:
    """Of the frame in it, as it travels."""
    return len(message.compressed.data) if message.HasField("compressed") else len(message.frame)
