"""Calls that are made again until one succeeds: how the moment is found at which something works.

Pauses between attempts are short and fixed, unlike the SDK's: they are the resolution of what is measured.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import grpc.aio

PAUSE_S: Final = 0.002
GIVE_UP_S: Final = 60.0

Answer = TypeVar("Answer")


async def until_listening(address: str) -> None:
    """Returns once something accepts connections at HOST:PORT. Raises TimeoutError after GIVE_UP_S.

    Asked by TCP, since a gRPC channel that was refused once waits for 100 ms and more before it tries again.
    """
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(GIVE_UP_S):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except ConnectionError:
                await asyncio.sleep(PAUSE_S)
                continue
            writer.close()
            return


async def until_answered(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """The first answer that is no gRPC error. Raises TimeoutError after GIVE_UP_S."""
    async with asyncio.timeout(GIVE_UP_S):
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError:
                await asyncio.sleep(PAUSE_S)


async def first_of(calls: Sequence[Callable[[], Awaitable[Answer]]]) -> Answer:
    """The first answer of any; the other calls are cancelled."""
    tasks = [asyncio.ensure_future(until_answered(call)) for call in calls]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(iter(done)).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
