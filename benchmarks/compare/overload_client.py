"""One process of the overload: callers that put new keys as fast as they are answered, and what they were told.

`python -m benchmarks.compare.overload_client JSON`: the fields of `Order`. Writes the numbers of acknowledged puts to
`report`.acked (8 bytes each, native order) and counts to `report`.
"""

import asyncio
import json
import sys
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Final

import uvloop

import replicator
from benchmarks.effort import Stopwatch
from replicator.client import Client
from replicator.model.errors import ReplicatorError

PREFIX: Final = b"overload-"
CALL_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Order:
    """first, step: numbers of the keys, so that no two processes write one key. report: a path."""

    endpoints: list[str]
    clients: int
    callers: int
    seconds: float
    value_bytes: int
    first: int
    step: int
    report: str

    def to_json(self) -> str:
        """The argument of the process."""
        return json.dumps(asdict(self))


def overload_key(number: int) -> bytes:
    """Of one put."""
    return PREFIX + b"%016d" % number


async def run(order: Order) -> None:
    """Closed loops until the time is over; then the report is written."""
    acked, told = array("Q"), Counter[str]()
    numbers = count(order.first, order.step)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(replicator.connect(order.endpoints)) for _ in range(order.clients)]
        watch = Stopwatch()

        async def caller(client: Client) -> None:
            while watch.elapsed_s() < order.seconds:
                await _put(client, numbers, bytes(order.value_bytes), acked, told)

        async with asyncio.TaskGroup() as group:
            for place in range(order.callers):
                group.create_task(caller(clients[place % order.clients]))
    _write_report(Path(order.report), acked, told)


def _write_report(report: Path, acked: "array[int]", told: "Counter[str]") -> None:
    report.with_suffix(".acked").write_bytes(acked.tobytes())
    report.write_text(json.dumps(told), encoding="utf-8")


async def _put(client: Client, numbers: Iterator[int], value: bytes, acked: "array[int]", told: "Counter[str]") -> None:
    number = next(numbers)
    try:
        await client.put(overload_key(number), value, timeout_s=CALL_TIMEOUT_S)
    except ReplicatorError as error:
        told[error.reason] += 1
    else:
        acked.append(number)
        told["OK"] += 1


if __name__ == "__main__":
    uvloop.run(run(Order(**json.loads(sys.argv[1]))))
