"""All shoppers of all regions, from their first call to their last."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from chaos.demo.caller import Caller, Traffic
from chaos.demo.mailbox import Mailbox
from chaos.demo.readers import READERS
from chaos.demo.stage import REGIONS, Stage
from chaos.demo.writers import WRITERS, Desk
from chaos.history import History
from replicator.client import connect


@dataclass(frozen=True, slots=True)
class Workload:
    """The shop while it is open."""

    traffic: Traffic
    mailbox: Mailbox

    @property
    def is_in_full_swing(self) -> bool:
        """Every worker has had a call succeed: connections are open and caches warm."""
        return len(self.traffic.served) == len(REGIONS) * (len(WRITERS) + len(READERS))


@asynccontextmanager
async def open_shop(stage: Stage, history: History, seed: int) -> AsyncIterator[Workload]:
    """Workers run until the block is left, and then end their last call.

    Two clients a region, as two services would have: one for its writers, one for its readers.
    """
    shop = Workload(Traffic(history), Mailbox(REGIONS, stage.network.are_connected))
    stop = asyncio.Event()
    try:
        async with AsyncExitStack() as clients, asyncio.TaskGroup() as workers:
            for region in REGIONS:
                for crew in (WRITERS, READERS):
                    client = connect(stage.endpoints[region], region=region)
                    clients.push_async_callback(client.close)
                    for name, work in crew.items():
                        worker = f"{region}/{name}"
                        caller = Caller(client, worker, region, shop.traffic)
                        desk = Desk(caller, shop.mailbox, random.Random(f"{seed}/{worker}"), stop)
                        workers.create_task(work(desk), name=worker)
            yield shop
            stop.set()
            shop.mailbox.wake()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from group  # what ended the run, not the fact that others were with it
