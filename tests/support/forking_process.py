"""A program that forks workers while a client is open, and others that use clients where they do not belong.

Run as `python -m tests.support.forking_process CASE ADDRESS`; writes what each worker, or the misuse, came to.
"""

import asyncio
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import replicator

JOBS = 4


def outcome_of(work: Callable[[], object]) -> str:
    try:
        return f"done: {work()}"
    except RuntimeError as error:
        return f"RuntimeError: {error}"


async def put_with(client: replicator.Client) -> str:
    await client.put(b"k", b"v")
    return "written"


async def put_with_own(address: str) -> str:
    async with replicator.connect(address, timeout_s=20.0) as client:
        return await put_with(client)


def own_client(address: str, _: int) -> str:
    return outcome_of(lambda: asyncio.run(put_with_own(address)))


inherited: list[replicator.Client] = []


def inherited_client(_: int) -> str:
    return outcome_of(lambda: asyncio.run(put_with(inherited[0])))


def in_pool(method: str, job: Callable[[int], str]) -> list[str]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        return list(pool.map(job, range(JOBS)))


async def while_open(address: str, method: str, job: Callable[[int], str]) -> list[str]:
    async with replicator.connect(address, timeout_s=20.0) as client:
        await client.put(b"k", b"v")
        inherited.append(client)
        told = await asyncio.to_thread(in_pool, method, job)
        await client.put(b"k", b"w")  # the fork has done no harm here
        return told


async def opened_only(address: str) -> replicator.Client:
    client = replicator.connect(address, timeout_s=20.0)
    await client.put(b"k", b"v")
    return client


def after_its_loop(address: str) -> list[str]:
    client = asyncio.run(opened_only(address))
    return [outcome_of(lambda: asyncio.run(put_with(client))), outcome_of(lambda: asyncio.run(client.close()))]


async def on_another_loop(address: str) -> list[str]:
    async with replicator.connect(address, timeout_s=20.0) as client:
        return [await asyncio.to_thread(lambda: outcome_of(lambda: asyncio.run(put_with(client))))]


def never_closed(address: str) -> list[str]:
    asyncio.run(opened_only(address))
    return []


def closed_before(address: str) -> list[str]:
    asyncio.run(put_with_own(address))
    return in_pool("fork", partial(own_client, address))


async def forked_first(address: str) -> list[str]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        pool.submit(int).result()  # forks
        await put_with_own(address)
        return await asyncio.to_thread(lambda: list(pool.map(partial(own_client, address), range(JOBS))))


CASES: dict[str, Callable[[str], list[str]]] = {
    "own": lambda address: asyncio.run(while_open(address, "fork", partial(own_client, address))),
    "inherited": lambda address: asyncio.run(while_open(address, "fork", inherited_client)),
    "spawned": lambda address: asyncio.run(while_open(address, "spawn", partial(own_client, address))),
    "closed-before": closed_before,
    "forked-first": lambda address: asyncio.run(forked_first(address)),
    "after-its-loop": after_its_loop,
    "on-another-loop": lambda address: asyncio.run(on_another_loop(address)),
    "never-closed": never_closed,
}

if __name__ == "__main__":
    for line in CASES[sys.argv[1]](sys.argv[2]):
        sys.stdout.write(f"{line}\n")
