"""Who compresses what for whom, and what a receiver takes: no more than the limit, nothing but what was sent."""

import random
import tracemalloc
from dataclasses import replace

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.model.ids import Region
from replicator.transport.compression import (
    COMPRESSED_FROM_BYTES,
    KEPT_SHARE_MAX,
    Compressor,
    Decompressor,
    NotDecompressed,
    is_compressed_to,
    taken_codecs,
)
from replicator.transport.handshake.known_peers import Introduction
from replicator.transport.ports import FRAME_BYTES_MAX
from replicator.v1 import peer_pb2
from tests.support.links import a_hello, peers_of

ZSTD = peer_pb2.CODEC_ZSTD
LIMIT = 1 << 20
SECRET = b"0123456789abcdef0123456789abcdef"


def text(size_bytes: int, seed: int = 1) -> bytes:
    dice = random.Random(seed)
    words = [b"order", b"customer", b"city", b"street", b"status", b"shipped", b"pending"]
    return b" ".join(dice.choice(words) for _ in range(size_bytes // 4))[:size_bytes]


def compressed(data: bytes, secret: bytes = b"") -> bytes | None:
    return Compressor(lambda: secret).compressed(data)


@pytest.mark.parametrize(
    ("setting", "listen", "region", "codecs", "taken", "sent"),
    [
        ("auto", "10.0.0.1:7001", "us", [ZSTD], True, True),
        ("auto", "10.0.0.1:7001", "eu", [ZSTD], True, False),
        ("auto", "10.0.0.1:7001", "us", [], True, False),
        ("auto", "10.0.0.1:7001", "us", [77], True, False),
        ("auto", "10.0.0.1:7001", "us", [77, ZSTD], True, True),
        ("auto", "127.0.0.1:7001", "us", [ZSTD], False, False),
        ("auto", "[::1]:7001", "us", [ZSTD], False, False),
        ("auto", "localhost:7001", "us", [ZSTD], False, False),
        ("on", "127.0.0.1:7001", "eu", [ZSTD], True, True),
        ("on", "127.0.0.1:7001", "eu", [], True, False),
        ("off", "10.0.0.1:7001", "us", [ZSTD], False, False),
    ],
)
def test_what_is_compressed_depends_on_the_setting_the_region_and_what_the_peer_takes(
    setting: str, listen: str, region: str, codecs: list[int], taken: bool, sent: bool
) -> None:
    own = peers_of("n1", {}, listen=listen, compression=setting).settings
    assert own.region == "eu"
    said = replace(Introduction.of(a_hello(codecs=codecs).hello, is_proven=True), region=Region(region))
    assert (taken_codecs(own) == (ZSTD,)) is taken
    assert is_compressed_to(own, said) is sent


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=5000), st.integers(1, 50))
def test_what_was_compressed_comes_back_as_it_was(data: bytes, times: int) -> None:
    data *= times
    smaller = compressed(data)
    if smaller is not None:
        assert len(smaller) <= len(data) * KEPT_SHARE_MAX
        assert Decompressor().decompressed(ZSTD, smaller, len(data), len(data)) == data


def test_what_is_small_or_does_not_get_smaller_is_sent_as_it_is() -> None:
    assert compressed(text(COMPRESSED_FROM_BYTES - 1)) is None
    assert compressed(text(COMPRESSED_FROM_BYTES)) is not None
    assert compressed(random.Random(1).randbytes(100_000)) is None


def test_what_holds_the_secret_of_the_group_is_not_compressed() -> None:
    """Its length would tell who chooses the rest of the frame, and watches, whether a guess is right."""
    frame = text(5000)
    assert compressed(frame + SECRET + frame, SECRET) is None
    assert compressed(frame + SECRET[:-1] + frame, SECRET) is not None
    assert compressed(frame, SECRET) is not None


def test_the_secret_is_asked_for_anew_each_time() -> None:
    """A link may be older than the group that the node has joined."""
    secret = b""
    compressor = Compressor(lambda: secret)
    frame = text(5000) + SECRET
    assert compressor.compressed(frame) is not None
    secret = SECRET
    assert compressor.compressed(frame) is None


BOMB = zstandard.ZstdCompressor(level=1).compress(bytes(1 << 30))  # 1 GiB in 100 KiB
HONEST = zstandard.ZstdCompressor(level=1).compress(text(10_000))
UNSIZED = zstandard.ZstdCompressor(level=1, write_content_size=False).compress(text(10_000))
CHECKED = zstandard.ZstdCompressor(level=1, write_checksum=True).compress(text(10_000))
SKIPPABLE = b"\x50\x2a\x4d\x18" + (8).to_bytes(4, "little") + bytes(8)


@pytest.mark.parametrize(
    ("codec", "data", "size_bytes", "told"),
    [
        (ZSTD, BOMB, 1 << 30, "at most 1048576"),
        (ZSTD, BOMB, LIMIT, "1073741824 by its data"),
        (ZSTD, BOMB[: len(BOMB) // 2], LIMIT, "by its data"),
        (ZSTD, HONEST, LIMIT + 1, "at most"),
        (ZSTD, HONEST, 9_999, "10000 by its data"),
        (ZSTD, HONEST, len(HONEST), "at most"),
        (ZSTD, HONEST, 0, "at most"),
        (ZSTD, HONEST[:-1], 10_000, "cannot be decompressed"),
        (ZSTD, HONEST + b"x", 10_000, "cannot be decompressed"),
        (ZSTD, HONEST + HONEST, 10_000, "cannot be decompressed"),
        (ZSTD, HONEST + SKIPPABLE, 10_000, "cannot be decompressed"),
        (ZSTD, SKIPPABLE + HONEST, 10_000, "by its data"),
        (ZSTD, UNSIZED, 10_000, "by its data"),
        (ZSTD, CHECKED[:-1] + bytes([CHECKED[-1] ^ 1]), 10_000, "cannot be decompressed"),
        (ZSTD, text(600), 10_000, "cannot be decompressed"),
        (ZSTD, b"", 10_000, "cannot be decompressed"),
        (0, HONEST, 10_000, "codec 0"),
        (77, HONEST, 10_000, "codec 77"),
    ],
)
def test_what_is_not_what_it_says_is_refused_before_memory_is_taken(
    codec: int, data: bytes, size_bytes: int, told: str
) -> None:
    decompressor = Decompressor()
    tracemalloc.start()
    try:
        with pytest.raises(NotDecompressed, match=told):
            decompressor.decompressed(codec, data, size_bytes, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < LIMIT // 4
    finally:
        tracemalloc.stop()
    assert decompressor.decompressed(ZSTD, HONEST, 10_000, LIMIT) == text(10_000), "and it goes on"


def test_a_header_that_lies_takes_no_more_memory_than_the_limit() -> None:
    """1 GiB that says it is 1 MiB: the header is what memory is taken by, and decompressing stops there."""
    header = zstandard.ZstdCompressor(level=1).compress(bytes(LIMIT))
    blocks = zstandard.get_frame_parameters(BOMB)
    assert blocks.content_size == 1 << 30
    lying = bytearray(BOMB)
    # Frame_Content_Size follows magic number, descriptor and window descriptor (RFC 8878, 3.1.1.1).
    descriptor = lying[4]
    size_at = 5 + (0 if descriptor & 0x20 else 1)
    assert int.from_bytes(lying[size_at : size_at + 4], "little") == 1 << 30
    lying[size_at : size_at + 4] = LIMIT.to_bytes(4, "little")
    assert zstandard.get_frame_parameters(bytes(lying)).content_size == LIMIT
    assert Decompressor().decompressed(ZSTD, header, LIMIT, LIMIT) == bytes(LIMIT)
    tracemalloc.start()
    try:
        with pytest.raises(NotDecompressed, match="cannot be decompressed"):
            Decompressor().decompressed(ZSTD, bytes(lying), LIMIT, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 2 * LIMIT
    finally:
        tracemalloc.stop()


def test_anything_is_refused_or_decompressed_to_its_size() -> None:
    """Honest frames with bytes changed, cut or put in, under any size: nothing else than NotDecompressed comes out."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201
    dice, decompressor, refused = random.Random(seed), Decompressor(), 0
    for _ in range(3000):
        data = bytearray(dice.choice((HONEST, UNSIZED, CHECKED, dice.randbytes(dice.randrange(200)))))
        for _ in range(dice.randrange(4)):
            at = dice.randrange(len(data) + 1)
            match dice.randrange(3):
                case 0:
                    data[at:] = b""
                case 1:
                    data[at:at] = dice.randbytes(dice.randrange(9))
                case _ if at < len(data):
                    data[at] ^= 1 << dice.randrange(8)
        size_bytes = dice.choice((10_000, dice.randrange(1 << 32), zstandard.frame_content_size(HONEST)))
        try:
            assert len(decompressor.decompressed(ZSTD, bytes(data), size_bytes, FRAME_BYTES_MAX)) == size_bytes
        except NotDecompressed:
            refused += 1
    assert refused > 1000
    assert decompressor.decompressed(ZSTD, HONEST, 10_000, LIMIT) == text(10_000)
