"""Writers that use the public client against real nodes, and what one node holds in the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from replicator.client import Client, connect
from replicator.model.errors import ReplicatorError


@dataclass
class Load:
    """Writers that put one key after the other, and remember what was acknowledged."""

    client: Client
    acknowledged: dict[bytes, bytes] = field(default_factory=dict)
    failures: list[ReplicatorError] = field(default_factory=list)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, writer: int) -> None:
        """Until stopped."""
        number = 0
        while not self._stopping.is_set():
            number += 1
            key, value = b"load/%d/%d" % (writer, number), b"%d" % number
            try:
                await self.client.put(key, value, timeout_s=20)
            except ReplicatorError as error:
                self.failures.append(error)
            else:
                self.acknowledged[key] = value

    def stop(self) -> None:
        """Writers end after the write in hand."""
        self._stopping.set()


@asynccontextmanager
async def load_on(endpoints: list[str], writers: int = 4) -> AsyncIterator[Load]:
    """Writes go on within the block; after it, all of them have ended."""
    async with connect(endpoints) as client:
        load = Load(client)
        tasks = [asyncio.create_task(load.write(writer)) for writer in range(writers)]
        try:
            yield load
        finally:
            load.stop()
            await asyncio.gather(*tasks)


async def all_pairs(endpoint: str, prefix: bytes) -> dict[bytes, bytes]:
    """What one node holds once it has caught up with the leader."""
    async with connect([endpoint]) as client:
        probe = await client.put(b"probe", b"x", timeout_s=20)
        return {kv.key: kv.value async for kv in client.scan(prefix=prefix, token=probe.token, timeout_s=20)}
