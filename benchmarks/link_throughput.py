"""How many MB/s does one peer link carry over a long path?

Two transports and a delay proxy between them, in one process.
Shows that the windows are large enough: with the 64 KiB that HTTP/2 begins with, 100 ms allow 0.6 MB/s.
"""

import asyncio
import random
import time
from dataclasses import dataclass
from typing import Final

from benchmarks.delay_proxy import DelayProxy
from benchmarks.effort import Effort, Say
from benchmarks.figures import Collector, Result
from replicator.model.ids import ClusterId, LogIndex, NodeId, Region
from replicator.model.incarnation import RUN_ID_BYTES, Incarnation, KnownIncarnation
from replicator.model.members import DIRECTORY_ID_BYTES, Member, Membership
from replicator.transport.peer_transport import PeerTransport
from replicator.transport.settings import TransportSettings

NEAR, FAR = NodeId("n1"), NodeId("n2")
TOTAL_MIB: Final = 128
SHORT_TOTAL_BYTES: Final = 4 << 20  # of the paths that are slow by nature
PATHS: Final = (  # round trip ms, frame KiB, window KiB
    (0, 64, 16 << 10),
    (0, 1, 16 << 10),
    (100, 64, 64),
    (100, 64, 16 << 10),
    (100, 1024, 16 << 10),
    (220, 64, 16 << 10),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """one_way_s: delay of the path, each way. window_bytes: of the stream, see TransportSettings."""

    one_way_s: float
    frame_bytes: int
    total_bytes: int
    window_bytes: int


class CountingSink:
    """Counts bytes, and tells when the wanted number is in. Takes peer and epoch as LinkSink says, and ignores them."""

    def __init__(self, wanted_bytes: int) -> None:
        self.wanted_bytes = wanted_bytes
        self.bytes = 0
        self.is_up = asyncio.Event()
        self.is_done = asyncio.Event()

    def link_up(self, peer: NodeId, epoch: int, directory_id: bytes) -> None:  # noqa: ARG002
        self.is_up.set()

    def link_down(self, peer: NodeId, epoch: int) -> None:  # noqa: ARG002
        self.is_up.clear()

    def note_refusal(self, peer: NodeId, founder: bytes) -> None:  # noqa: ARG002
        raise AssertionError(f"{peer} refuses")

    def superseded(self, peer: NodeId, why: str) -> None:
        raise AssertionError(f"{peer} refuses: {why}")

    async def frame(self, peer: NodeId, epoch: int, payload: bytes) -> None:  # noqa: ARG002
        self.bytes += len(payload)
        if self.bytes >= self.wanted_bytes:
            self.is_done.set()


class Runs:
    """Which runs were met; forgotten with the process."""

    def __init__(self) -> None:
        self._runs: dict[NodeId, KnownIncarnation] = {}

    def known(self, node_id: NodeId) -> KnownIncarnation | None:
        return self._runs.get(node_id)

    async def note(self, node_id: NodeId, run: KnownIncarnation) -> None:
        self._runs[node_id] = run


def transport(node: NodeId, far_port: int, plan: Plan, sink: CountingSink) -> PeerTransport:
    """far_port: under which the other one is reached."""
    settings = TransportSettings(
        cluster_id=ClusterId("bench"),
        node_id=node,
        region=Region("eu"),
        listen="127.0.0.1:0",
        directory_id=node.encode().ljust(DIRECTORY_ID_BYTES, b"."),
        incarnation=Incarnation(1, node.encode().ljust(RUN_ID_BYTES, b".")),
        cluster_secret=b"of both ends of this benchmark",
        window_bytes=plan.window_bytes,
    )
    members = tuple(Member(each, Region("eu"), f"127.0.0.1:{far_port}", "") for each in (NEAR, FAR))
    return PeerTransport(settings, sink, random.Random(node), Membership(LogIndex(0), members), Runs())


async def measure(plan: Plan) -> float:
    """MB/s (10**6 bytes) from the first send to the last frame delivered, so the path's delay is in it."""
    near, far = CountingSink(0), CountingSink(plan.total_bytes)
    acceptor = transport(NEAR, 1, plan, near)
    await acceptor.start()
    async with DelayProxy(acceptor.bound_port, plan.one_way_s) as proxy:
        dialler = transport(FAR, proxy.port, plan, far)
        await dialler.start()
        try:
            async with asyncio.timeout(120):
                await near.is_up.wait()
                await far.is_up.wait()
                started_s = time.perf_counter()
                await _send_all(acceptor, plan)
                await far.is_done.wait()
                return plan.total_bytes / 1e6 / (time.perf_counter() - started_s)
        finally:
            await dialler.stop(0)
            await acceptor.stop(0)


async def _send_all(sender: PeerTransport, plan: Plan) -> None:
    payload = bytes(plan.frame_bytes)
    sent_bytes = 0
    while sent_bytes < plan.total_bytes:
        if sender.send(FAR, payload):
            sent_bytes += len(payload)
        else:
            await asyncio.sleep(0.002)  # the queue is full: the engine would wait for its next turn


async def run(effort: Effort, say: Say) -> Result:
    """Sender, proxy and receiver share one process, so short paths show what one core can do, not what a link can."""
    found = Collector()
    full_bytes = max(SHORT_TOTAL_BYTES, effort.count(TOTAL_MIB << 20))
    for number in range(effort.rounds):
        for round_trip_ms, frame_kib, window_kib in PATHS:
            say(f"link_throughput: round {number + 1} of {effort.rounds}, {round_trip_ms} ms, window {window_kib} KiB")
            await effort.until_quiet()
            total_bytes = full_bytes if window_kib > 64 and frame_kib > 1 else SHORT_TOTAL_BYTES
            plan = Plan(round_trip_ms / 2000, frame_kib << 10, total_bytes, window_kib << 10)
            name = f"round trip {round_trip_ms} ms, frames of {frame_kib} KiB, window {window_kib} KiB"
            found.add(name, "MB/s", await measure(plan))
    return Result(
        benchmark="link_throughput",
        question=(__doc__ or "").splitlines()[0],
        configuration={"bytes_a_run": full_bytes, "rounds": effort.rounds},
        figures=found.figures(),
    )
