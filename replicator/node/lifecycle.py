"""One node from start to stop: opens, binds, serves, drains, closes, in an order that loses nothing.

Start: data directory, then engine, peer port, API port, admin port. Readiness follows once a leader has been heard.
Drain: callers are told to go elsewhere, leadership moves away, calls in flight end, then everything closes backwards.
"""

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Coroutine
from enum import Enum
from typing import Any, Final

from replicator.config.schema import NodeConfig
from replicator.console import Console
from replicator.console.pages import admin_app
from replicator.model.errors import (
    CorruptData,
    HistoryReplaced,
    OtherGroupsLog,
    ReplicatorError,
    StartupError,
    StorageFailed,
    Superseded,
)
from replicator.model.ids import NodeId
from replicator.node import settings
from replicator.node.certificates import CertificateKeeper, admin_context, open_certificates
from replicator.node.connection_guard import ConnectionGuard
from replicator.node.health import NodeHealth, Phase
from replicator.node.join import Joiner, Place
from replicator.node.join_plan import JoinOptions
from replicator.node.preflight import check_environment
from replicator.node.pulse import Pulse
from replicator.node.teardown import Teardown
from replicator.node.wiring import Rooms, build_rooms, look_at, open_storage
from replicator.storage.failures import InvariantViolated
from replicator.telemetry import LogQueue, Telemetry

_log = logging.getLogger(__name__)

TRANSFER_S_MAX: Final = 3.0
CALLS_GRACE_S: Final = 2.0
LINKS_GRACE_S: Final = 0.5
TELEMETRY_GRACE_S: Final = 1.0
FAILED_CALLS_GRACE_S: Final = 0.3


class Ending(Enum):
    """Why a node stopped serving."""

    STOPPED = "stopped"
    FAILED = "failed"


class Node:
    """One node. `start`, then `run`, then `stop`; `stop` also cleans up after a `start` that failed."""

    def __init__(
        self,
        config: NodeConfig,
        telemetry: Telemetry,
        dice: random.Random,
        join: JoinOptions | None = None,
        log: LogQueue | None = None,
    ) -> None:
        """join: None unless the node was told to join a group. log: whose drops the metrics show."""
        self._config = config
        self._telemetry = telemetry
        self._dice = dice
        self._join = join
        self._log = log
        self._guard = ConnectionGuard(telemetry)
        self._teardown = Teardown()
        self._rooms: Rooms | None = None
        self._health: NodeHealth | None = None
        self._pulse_task: asyncio.Task[None] | None = None
        self._joining: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._keeper: CertificateKeeper | None = None

    async def start(self) -> None:
        """Serves once it returns. Raises StartupError or StorageFailed; call `stop` then, too."""
        self._teardown.add("telemetry", lambda: self._telemetry.stop(TELEMETRY_GRACE_S))
        rooms = self._open()
        health = NodeHealth(rooms.engine, NodeId(self._config.node.id))
        self._rooms, self._health = rooms, health
        await rooms.engine.start()
        self._teardown.add("engine", rooms.engine.stop)
        await rooms.transport.start()
        self._teardown.add("peer links", lambda: rooms.transport.stop(LINKS_GRACE_S))
        await rooms.api.start()
        self._teardown.add("api", lambda: rooms.api.stop(0.0))
        pulse = Pulse(self._telemetry, lambda: look_at(rooms, self._log), self._announce)
        self._telemetry.show_vitals(pulse.vitals)
        tls = admin_context(self._config, rooms.certificates)
        admin = self._start_console(health, pulse, tls)
        self._guard.watch(settings.port_limits(self._config, rooms.api.bound_port, rooms.transport.bound_port))
        self._beside("connection guard", self._guard.run())
        self._keep_certificates(rooms, tls)
        self._pulse_task = asyncio.create_task(pulse.run(), name="pulse")
        self._teardown.add("pulse", self._stop_pulse)
        health.enter(Phase.SERVING)
        config = self._config
        for region in settings.unknown_preferences(config):
            _log.warning("raft.leader_preference: no member is in region %s; it is ignored", region)
        _log.info(
            "serving node=%s region=%s api=%s peer=%s admin=%s",
            config.node.id, config.node.region, config.api_listen, config.peer_listen, admin,
        )  # fmt: skip
        self._begin_joining(rooms)

    async def run(self, stop: asyncio.Event) -> Ending:
        """Until `stop` is set or the node cannot go on, which is logged with its remedy."""
        assert self._rooms is not None, "start first"
        assert self._pulse_task is not None, "start first"
        engine: asyncio.Task[object] = asyncio.create_task(self._rooms.engine.wait_failed(), name="watch-engine")
        stopped: asyncio.Task[object] = asyncio.create_task(stop.wait(), name="watch-stop")
        try:
            watched: set[asyncio.Task[object]] = {engine, stopped, self._pulse_task}
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            for task in (engine, self._pulse_task):
                failure = task.exception() if task.done() and not task.cancelled() else None
                if failure is not None:
                    self._report_failure(failure)
                    return Ending.FAILED
            return Ending.STOPPED
        finally:
            for task in (engine, stopped):
                task.cancel()
            await asyncio.gather(engine, stopped, return_exceptions=True)

    def renew_certificates(self) -> None:
        """Takes new certificate files soon, if they are good; without TLS there is nothing to do. On the loop."""
        if self._keeper is not None:
            self._keeper.hurry()

    async def drain(self) -> None:
        """Sends callers elsewhere, then leadership; returns once no call is in flight, or its time is over."""
        assert self._rooms is not None, "start first"
        assert self._health is not None, "start first"
        began_s = time.monotonic()
        rooms = self._rooms
        self._health.enter(Phase.DRAINING)
        _log.info("draining node=%s", self._config.node.id)
        rooms.api.drain()
        await rooms.api.health.shut_down()
        await self._hand_over_leadership(rooms)
        rooms.engine.refuse_proposals()
        await rooms.api.stop(CALLS_GRACE_S)
        _log.info("drained node=%s took_s=%.2f", self._config.node.id, time.monotonic() - began_s)

    async def _hand_over_leadership(self, rooms: Rooms) -> None:
        """Only if this node leads and another voter can take over."""
        if rooms.engine.status().role != "leader" or len(rooms.engine.membership().voters) < 2:
            return
        try:
            successor = await rooms.engine.transfer_leadership(timeout_s=TRANSFER_S_MAX, why="shutdown")
            _log.info("leadership transferred to=%s", successor)
        except ReplicatorError as error:
            _log.warning(
                "leadership could not be transferred (%s); the others will elect a leader by themselves", error.message
            )

    async def abandon(self) -> None:
        """After a failure: callers learn at once what is known of their calls, and do not wait for their deadlines."""
        assert self._rooms is not None, "start first"
        await self._rooms.api.health.shut_down()
        await self._rooms.engine.stop()
        await self._rooms.api.stop(FAILED_CALLS_GRACE_S)

    async def stop(self, budget_s: float) -> bool:
        """Closes whatever is open, last opened first. True if all of it closed cleanly and in time. Idempotent."""
        return await self._teardown.unwind(budget_s)

    def _open(self) -> Rooms:
        # The data directory goes first: a second process of the same node is told that, not that a port is taken.
        storage = open_storage(self._config, joining=self._join is not None)

        async def close_storage() -> None:
            storage.close()

        self._teardown.add("storage", close_storage)
        certificates = open_certificates(self._config)
        check_environment(self._config)
        rooms = build_rooms(self._config, storage, certificates, self._telemetry, dice=self._dice, cut=self._guard.cut)
        self._teardown.add("storage writer", rooms.writer.close)
        return rooms

    def _begin_joining(self, rooms: Rooms) -> None:
        """Asks the group for what this node's flags and file want of it; goes on beside everything else."""
        engine = rooms.engine
        place = Place(
            rooms.storage.directory_id, engine.membership, lambda: engine.is_caught_up, rooms.transport.set_guide
        )
        joiner = Joiner(self._config, place, self._join, self._dice)
        self._joining = self._beside("join", joiner.run())

    def _keep_certificates(self, rooms: Rooms, admin: ssl.SSLContext | None) -> None:
        if rooms.certificates is not None:
            self._keeper = CertificateKeeper(rooms.certificates, admin)
            self._keeping = self._beside("certificates", self._keeper.run())

    def _beside(self, name: str, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """A task that goes on until the node stops."""
        task = asyncio.create_task(work, name=name)

        async def stop() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self._teardown.add(name, stop)
        return task

    def _start_console(self, health: NodeHealth, pulse: Pulse, tls: ssl.SSLContext | None) -> str:
        """The address bound, or '-'."""
        address = self._config.listen.admin
        if address is None:
            return "-"

        def exposition() -> tuple[bytes, str]:
            pulse.refresh()
            return self._telemetry.exposition()

        console = Console(admin_app(health, exposition), tls)
        bound = console.start(address)
        self._teardown.add("console", console.stop)
        return bound

    async def _announce(self) -> None:
        """Tells gRPC callers what /readyz tells HTTP callers."""
        assert self._rooms is not None
        assert self._health is not None
        await self._rooms.api.health.set_serving(self._health.ready().ok)

    async def _stop_pulse(self) -> None:
        assert self._pulse_task is not None
        self._pulse_task.cancel()
        await asyncio.gather(self._pulse_task, return_exceptions=True)

    def _report_failure(self, failure: BaseException) -> None:
        assert self._health is not None
        reason = " ".join(str(failure).split()) or type(failure).__name__
        self._health.enter(Phase.FAILED, failure=reason)
        report_failure(self._config, failure)


def report_failure(config: NodeConfig, failure: BaseException) -> None:
    """The one line that says why a node gave up, and what to do."""
    reason = " ".join(str(failure).split()) or type(failure).__name__
    if isinstance(failure, Superseded | StartupError):  # which say all themselves
        _log.critical("node %s stops: %s", config.node.id, reason)
    elif isinstance(failure, StorageFailed):
        _log.critical(
            "node %s stops: storage failed: %s. %s",
            config.node.id, reason, _storage_remedy(failure, config.node.data_dir),
            exc_info=failure if _log.isEnabledFor(logging.DEBUG) else None,
        )  # fmt: skip
    elif isinstance(failure, HistoryReplaced | OtherGroupsLog):
        chapter = (
            "committed entries were replaced" if isinstance(failure, HistoryReplaced) else "two groups of one name"
        )
        _log.critical(
            "node %s stops: %s. Remedy: do not start it again; `replicator export --data-dir %s` shows what it holds; "
            "then let it join with an empty directory: docs/operating.md, %s",
            config.node.id, reason, config.node.data_dir, chapter,
        )  # fmt: skip
    else:
        _log.critical("node %s stops: a bug: %s. Please report this", config.node.id, reason, exc_info=failure)


def _storage_remedy(failure: StorageFailed, data_dir: str) -> str:
    if isinstance(failure, InvariantViolated):
        return "Nothing of the failed write was kept. This is most likely a bug, not the disk: please report it"
    if isinstance(failure, CorruptData):
        return f"Remedy: docs/operating.md, a lost or damaged disk, before {data_dir} is touched"
    return (
        f"Nothing of the failed write was acknowledged. Remedy: check the disk under {data_dir} (kernel log, SMART), "
        "then start the node again"
    )


def new_node(config: NodeConfig, join: JoinOptions | None, log: LogQueue) -> tuple[Node, Telemetry]:
    """A node with its own telemetry and its own dice."""
    telemetry = Telemetry(settings.telemetry_settings(config))
    return Node(config, telemetry, random.Random(), join, log), telemetry
