"""A link over real sockets: megabytes for callers hold up no frame of Raft's."""

from collections.abc import AsyncIterator

import pytest

from replicator.model.ids import NodeId
from tests.support.links import Links, until

N2 = NodeId("n2")
FRAME_BYTES = 256 << 10
FRAMES = 60


@pytest.fixture
async def links() -> AsyncIterator[Links]:
    async with Links() as running:
        yield running


async def test_a_heartbeat_overtakes_what_waits_for_callers(links: Links) -> None:
    """The other end does not read for a while, as on a slow path: what waits then, waits in the queue."""
    one, _, _, sink = await links.pair(queue_bytes_max=64 << 20)
    sink.gate.clear()
    calls = [b"call %04d" % n + bytes(FRAME_BYTES) for n in range(FRAMES)]
    for call in calls:
        assert one.send(N2, call, for_caller=True)
    await until(lambda: one.links()[N2].frames_sent > 0)
    heartbeats = [b"heartbeat %d" % n for n in range(3)]
    for heartbeat in heartbeats:
        assert one.send(N2, heartbeat)
    sink.gate.set()

    await until(lambda: len(sink.frames.get("n1", ())) == FRAMES + len(heartbeats), timeout_s=60.0)
    arrived = sink.frames["n1"]
    assert [frame for frame in arrived if frame in heartbeats] == heartbeats
    assert [frame for frame in arrived if frame not in heartbeats] == calls
    behind = len(arrived) - arrived.index(heartbeats[-1])
    assert behind > FRAMES // 2, "gRPC and the kernel hold some, the rest was overtaken"
