"""The end of the run: waits until all is quiet, and takes from every node everything that it holds."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from chaos.demo.stage import Stage
from chaos.history import FinalCopy, History, Pair
from replicator.client import connect
from replicator.dev import NodeProcess
from replicator.model.values import NodeStatus

SETTLE_S_MAX: Final = 30.0
ASK_EVERY_S: Final = 0.1
PAGE_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Ending:
    """settled_s: time until all nodes were at one position; None if they never were. statuses: with state hashes."""

    settled_s: float | None
    statuses: dict[str, NodeStatus]


async def take_stock(stage: Stage, history: History) -> Ending:
    """Fills `history.copies`. Raises the error family if a node does not answer: then nothing can be said."""
    settled_s = await _settle(stage)
    statuses: dict[str, NodeStatus] = {}
    token = max((o for o in history if o.token), key=lambda o: o.revision).token
    for node_id, process in stage.cluster.nodes.items():
        statuses[node_id] = await stage.cluster.status(node_id, state_hash=True)
        history.copies.append(await _copy_of(process, statuses[node_id], token))
    return Ending(settled_s, statuses)


async def _settle(stage: Stage) -> float | None:
    started_s = time.monotonic()
    while time.monotonic() - started_s < SETTLE_S_MAX:
        statuses = list((await stage.cluster.statuses()).values())
        positions = {(s.applied_index, s.commit_index, s.last_index, s.rolling_hash) for s in statuses}
        if len(statuses) == len(stage.cluster.nodes) and len(positions) == 1 and _is_all_applied(statuses[0]):
            return time.monotonic() - started_s
        await asyncio.sleep(ASK_EVERY_S)
    return None


def _is_all_applied(status: NodeStatus) -> bool:
    return status.applied_index == status.commit_index == status.last_index


async def _copy_of(process: NodeProcess, status: NodeStatus, token: str) -> FinalCopy:
    """Every pair, read at that node: the other addresses that it knows lead nowhere.

    The token is the newest of the run, so that the node has to show at least all that was ever acknowledged.
    """
    async with connect([process.plan.api]) as client:
        pairs = {
            kv.key.decode(): Pair(kv.value.decode(), kv.mod_revision, kv.version)
            async for kv in client.scan(token=token, timeout_s=PAGE_TIMEOUT_S)
        }
    return FinalCopy(
        node=process.plan.id,
        region=process.plan.region,
        pairs=pairs,
        applied_index=status.state_hash_index,
        rolling_hash=status.rolling_hash,
        state_hash=status.state_hash,
    )
