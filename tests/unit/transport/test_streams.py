"""How broken gRPC streams are told apart from cancelled tasks."""

import asyncio

import grpc
import pytest

from replicator.transport.streams import DialledStream, LinkLost, breaking_is_loss, parse
from replicator.v1 import peer_pb2


async def test_a_call_that_another_task_gives_up_is_a_lost_link_to_its_reader() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream("/a/b")(wait_for_ready=True)
        stream = DialledStream(call)
        reading = asyncio.create_task(stream.read())
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(LinkLost):
            await reading


async def test_a_cancelled_task_stays_cancelled() -> None:
    async def wait() -> None:
        with breaking_is_loss():
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("message", [b"", b"\xff", b"\x9a\x06\x01x"])
def test_what_has_no_known_body_is_not_a_message(message: bytes) -> None:
    with pytest.raises(LinkLost):
        parse(message)


def test_an_empty_frame_is_a_message() -> None:
    assert parse(peer_pb2.LinkMessage(frame=b"").SerializeToString()).frame == b""
