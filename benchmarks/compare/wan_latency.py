"""Three regions, 80, 150 and 220 ms apart: a commit in the leader's region, a causal read in a remote one."""

import asyncio
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import replicator
from benchmarks.arena import temporary_folder
from benchmarks.compare.rows import NO_OPPONENT, Row, at_most, at_most_more
from benchmarks.compare.scope import Scope
from benchmarks.compare.task import Figure, Stage, Task
from benchmarks.effort import Stopwatch
from chaos.demo.stage import REGIONS, round_trip_s, set_up
from chaos.demo.stage import Stage as Regions
from chaos.wire import Route

ROUND_TRIP: Final = "round trip to the nearest region"
CALL_TIMEOUT_S: Final = 30.0
READS_A_CALL: Final = 10
SEED: Final = 7

Echo: TypeAlias = Callable[[], Awaitable[None]]


@asynccontextmanager
async def _regions(_task: Task) -> AsyncIterator[Regions]:
    with temporary_folder() as folder:
        async with set_up(folder, SEED) as regions:
            yield regions


def wan_latency(scope: Scope) -> Stage[Regions]:
    """The opponent of a commit is physics: a TCP echo through the same proxy, in turns with the puts."""
    commit = Row("WAN: commit p50 in the leader's region", ROUND_TRIP, "ms", at_most_more(5.0))
    read = Row("WAN: local causal read p50 in a remote region", NO_OPPONENT, "ms", at_most(1.0))

    async def measure(regions: Regions, task: Task) -> None:
        home = regions.region_of(await regions.cluster.leader(CALL_TIMEOUT_S))
        others = [region for region in REGIONS if region != home]
        nearest = min(others, key=lambda region: round_trip_s(home, region))
        remote = max(others, key=lambda region: round_trip_s(home, region))
        async with (
            replicator.connect(regions.endpoints[home], home, timeout_s=CALL_TIMEOUT_S) as near,
            replicator.connect(regions.endpoints[remote], remote, timeout_s=CALL_TIMEOUT_S) as far,
            _echo(regions, Route(home, nearest)) as echo,
        ):
            token = (await near.put(b"wan", b"value")).token
            await far.get(b"wan", token=token)
            await echo()
            for number in range(scope.rounds):
                task.say(f"  round {number + 1} of {scope.rounds}, the leader is in {home}")
                puts_ms, echoes_ms, reads_ms = [], [], []
                for _ in range(scope.wan_calls):
                    puts_ms.append(await _ms_of(near.put(b"wan", b"value")))
                    echoes_ms.append(await _ms_of(echo()))
                    reads_ms += [await _ms_of(far.get(b"wan", token=token)) for _ in range(READS_A_CALL)]
                task.book.add(commit, statistics.median(puts_ms), statistics.median(echoes_ms))
                task.book.add(read, statistics.median(reads_ms))

    figure = Figure("wan", "What do regions far apart add to a commit and to a read?", (commit, read), measure)
    return Stage(_regions, (figure,))


@asynccontextmanager
async def _echo(regions: Regions, route: Route) -> AsyncIterator[Echo]:
    """A call that sends one byte along a line like that of the nodes, and returns when it is back."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while byte := await reader.read(1):
            writer.write(byte)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        line = await regions.network.connect(route, f"127.0.0.1:{port}")
        host, _, line_port = line.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(line_port))

        async def there_and_back() -> None:
            writer.write(b"?")
            await reader.readexactly(1)

        try:
            yield there_and_back
        finally:
            writer.close()
            await writer.wait_closed()


async def _ms_of(call: Awaitable[object]) -> float:
    watch = Stopwatch()
    await call
    return watch.elapsed_ms()
