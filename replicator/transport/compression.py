"""Frames and snapshot chunks made smaller on their way to another region: who wants it, what pays, what is refused.

Each piece is compressed by itself: a lost link loses no state, and what one caller wrote says nothing of what another
wrote in another piece. One that holds the secret of the group is sent as it is, since the length of a compressed piece
tells an observer whether a guess repeats it (the attack CRIME on TLS, see SECURITY.md).
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import zstandard

from replicator.config.relations import is_loopback
from replicator.transport.handshake.known_peers import Introduction
from replicator.transport.settings import TransportSettings
from replicator.v1 import peer_pb2

COMPRESSED_FROM_BYTES: Final = 512  # of less, headers of TCP, TLS and HTTP/2 are what counts
KEPT_SHARE_MAX: Final = 15 / 16  # what saves less than the rest is sent as it is
LEVEL: Final = 1  # higher ones save a few percent more, in a multiple of the time
WINDOW_BYTES_MAX: Final = 8 << 20

SecretOfGroup: TypeAlias = Callable[[], bytes]


class NotDecompressed(Exception):
    """What a peer sent is not what it says that it is. The text says how."""


def taken_codecs(settings: TransportSettings) -> "tuple[peer_pb2.Codec.ValueType, ...]":
    """What peers may send this node, by its settings."""
    is_on = settings.compression == "on" or (settings.compression == "auto" and not is_loopback(settings.listen))
    return (peer_pb2.CODEC_ZSTD,) if is_on else ()


def is_compressed_to(settings: TransportSettings, said: Introduction) -> bool:
    """Whether this node compresses what it sends to that peer. Each side decides for what it sends."""
    is_wanted = settings.compression == "on" or said.region != settings.region
    return is_wanted and any(codec in said.codecs for codec in taken_codecs(settings))


class Compressor:
    """For what is sent to one peer. For one thread at a time. secret_of_group: of what must not be compressed."""

    def __init__(self, secret_of_group: SecretOfGroup) -> None:
        self._secret_of_group = secret_of_group
        self._zstd = zstandard.ZstdCompressor(level=LEVEL)

    def compressed(self, data: bytes) -> bytes | None:
        """By CODEC_ZSTD; None if `data` is to be sent as it is."""
        if len(data) < COMPRESSED_FROM_BYTES:
            return None
        secret = self._secret_of_group()
        if secret and secret in data:
            return None
        smaller = self._zstd.compress(data)
        return smaller if len(smaller) <= len(data) * KEPT_SHARE_MAX else None


class Decompressor:
    """For what one peer sends. For one thread at a time."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX)

    def decompressed(self, codec: int, data: bytes, size_bytes: int, size_bytes_max: int) -> bytes:
        """`data` as it was: size_bytes of it. Nothing is decompressed, and no memory taken, beyond size_bytes_max.

        Raises NotDecompressed.
        """
        if codec != peer_pb2.CODEC_ZSTD:
            raise NotDecompressed(f"codec {codec} is unknown here")
        if not len(data) < size_bytes <= size_bytes_max:
            raise NotDecompressed(f"{len(data)} bytes that would be {size_bytes}, at most {size_bytes_max}")
        try:
            header = zstandard.get_frame_parameters(data)
            if header.content_size != size_bytes:
                raise NotDecompressed(f"{size_bytes} bytes by the message, {header.content_size} by its data")
            if header.dict_id != 0:
                raise NotDecompressed(f"compressed with dictionary {header.dict_id}")
            whole = self._zstd.decompress(data, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise NotDecompressed(f"{len(data)} bytes that cannot be decompressed: {error}") from None
        if len(whole) != size_bytes:
            raise NotDecompressed(f"{len(whole)} bytes in place of {size_bytes}")
        return whole
