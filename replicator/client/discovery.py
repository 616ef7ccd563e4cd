"""Keeps the directory current: asks every endpoint for its status, at connect, regularly, and soon after failures."""

import asyncio
import time
from contextlib import suppress
from typing import Final

import grpc.aio

from replicator.client.channels import Channels
from replicator.client.convert import node_status
from replicator.client.endpoints import Directory
from replicator.client.group_time import GroupTime
from replicator.model.errors import ReplicatorError
from replicator.model.values import NodeStatus
from replicator.v1 import cluster_pb2

ROUND_EVERY_S: Final = 10.0
ROUND_GAP_S_MIN: Final = 0.2  # however many calls fail
PROBE_TIMEOUT_S: Final = 1.0
FIRST_ROUND_WAIT_S_MAX: Final = 1.0


class Discovery:
    """One background task."""

    def __init__(self, directory: Directory, channels: Channels, group_time: GroupTime) -> None:
        self._directory = directory
        self._channels = channels
        self._group_time = group_time
        self._wanted = asyncio.Event()
        self._first_round = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def has_looked(self) -> bool:
        """True once the first round is over."""
        return self._first_round.is_set()

    async def start(self, wait_s: float) -> None:
        """Returns after the first round, or wait_s, FIRST_ROUND_WAIT_S_MAX at most: calls work without it, too."""
        if self._first_round.is_set():
            return
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="replicator-discovery")
        with suppress(TimeoutError):
            async with asyncio.timeout(min(wait_s, FIRST_ROUND_WAIT_S_MAX)):
                await self._first_round.wait()

    def hurry(self) -> None:
        """Something failed: look again soon."""
        self._wanted.set()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            found = await self._round()
            self._first_round.set()
            await asyncio.sleep(ROUND_GAP_S_MIN)
            if not found:
                await self._wait_wanted()
            self._wanted.clear()

    async def _wait_wanted(self) -> None:
        # Not wait_for: up to Python 3.11 it swallows a cancellation that meets the event, and close() would hang.
        with suppress(TimeoutError):
            async with asyncio.timeout(ROUND_EVERY_S):
                await self._wanted.wait()

    async def _round(self) -> bool:
        """True if members came up that were not known."""
        answers = await asyncio.gather(*(self._probe(address) for address in self._directory.addresses))
        statuses = [answer[0] for answer in answers if answer is not None]
        if statuses:
            for address in self._directory.retire(statuses):
                await self._channels.drop(address)
        return any(answer is not None and answer[1] for answer in answers)

    async def _probe(self, address: str) -> tuple[NodeStatus, bool] | None:
        connection = self._channels.to(address)
        try:
            await connection.ready(PROBE_TIMEOUT_S)
            sent_s = time.monotonic()
            answer = await connection.cluster.Status(cluster_pb2.StatusRequest(), timeout=PROBE_TIMEOUT_S)
        except (ReplicatorError, grpc.aio.AioRpcError, grpc.aio.UsageError):
            self._directory.note_down(address)
            return None
        status = node_status(answer)
        self._group_time.heard(status.log_time_ms)
        return status, self._directory.note_status(address, status, time.monotonic() - sent_s)
