"""The process around a node: loop, signals, exit code, and a watchdog, so that it always ends."""

import asyncio
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Final

import uvloop

from replicator.config.schema import NodeConfig
from replicator.model.errors import ConfigError, StorageFailed
from replicator.node.join_plan import JoinOptions, check_join
from replicator.node.lifecycle import Ending, Node, new_node, report_failure
from replicator.telemetry import LogQueue, configure_logging, set_log_level

_log = logging.getLogger(__name__)

EXIT_DRAINED: Final = 0
EXIT_FAILED: Final = 70  # EX_SOFTWARE of sysexits.h
# From the moment the node is to end. Process managers kill at 10 s, and killed would look like a crash.
STOP_BUDGET_S: Final = 8.5
DRAIN_S_MAX: Final = 6.0
WATCHDOG_S: Final = 9.5
_TIE_BYTES: Final = 4096
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def run_node(
    config: NodeConfig,
    join: JoinOptions | None = None,
    *,
    reload: Callable[[], NodeConfig],
    tie_fd: int | None = None,
) -> int:
    """Serves until a signal or a failure; the exit code. Raises StartupError if the node cannot start.

    join: None unless the node is to join a group that exists. reload: reads the configuration again; raises
    ConfigError. tie_fd: a pipe at whose end the node drains: its launcher is gone.

    For a process of its own: it takes over signals, logging and the global tracer, and after it returns a watchdog
    goes on to see to it that the process ends.
    """
    if join is not None:
        check_join(config, join)
    log = configure_logging(
        config.telemetry.log_level, config.telemetry.log_format, node_id=config.node.id, region=config.node.region
    )
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(config, join, log, reload=reload, tie_fd=tie_fd))
    finally:
        log.drain()


async def _serve(
    config: NodeConfig,
    join: JoinOptions | None,
    log: LogQueue,
    *,
    reload: Callable[[], NodeConfig],
    tie_fd: int | None,
) -> int:
    stop = asyncio.Event()
    watchdog = Watchdog()
    take_signals(stop, watchdog)
    if tie_fd is not None:
        end_with_launcher(tie_fd, stop, watchdog)
    node, telemetry = new_node(config, join, log)

    def on_hangup() -> None:
        node.renew_certificates()
        reload_log_level(reload)

    # Taken over without TLS, too: its default would end the node.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, on_hangup)
    telemetry.become_global()
    try:
        await node.start()
        ending = await node.run(stop)
        watchdog.arm()
        if ending is Ending.FAILED:
            await node.abandon()
            return EXIT_FAILED
        await _drain(node)
        return EXIT_DRAINED
    except StorageFailed as failure:  # met on start: data that contradicts itself, a disk that does not answer
        report_failure(config, failure)
        return EXIT_FAILED
    finally:
        watchdog.arm()
        await node.stop(watchdog.left_s(STOP_BUDGET_S))


async def _drain(node: Node) -> None:
    try:
        async with asyncio.timeout(DRAIN_S_MAX):
            await node.drain()
    except TimeoutError:
        _log.error("draining took longer than %g s; remaining calls are cut off", DRAIN_S_MAX)


class Watchdog:
    """Ends the process, whatever hangs: a thread, a library's shutdown hook, a disk."""

    def __init__(self) -> None:
        self._armed_at_s: float | None = None

    def arm(self) -> None:
        """The process ends within WATCHDOG_S from the first call on."""
        if self._armed_at_s is not None:
            return
        self._armed_at_s = time.monotonic()
        threading.Thread(target=self._bite, name="watchdog", daemon=True).start()

    def left_s(self, budget_s: float) -> float:
        """What is left of a budget that began when the watchdog was armed."""
        assert self._armed_at_s is not None, "arm first"
        return max(0.0, self._armed_at_s + budget_s - time.monotonic())

    def _bite(self) -> None:
        time.sleep(WATCHDOG_S)
        if select.select((), (2,), (), 0)[1]:  # a reader that has stalled must not keep the process
            os.write(2, b"replicator: the node did not end in time and is cut off; what was acknowledged is on disk\n")
        os._exit(EXIT_FAILED)


def take_signals(stop: asyncio.Event, watchdog: Watchdog) -> None:
    """The first SIGTERM or SIGINT sets `stop`; the second ends the process at once, losing nothing acknowledged."""
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()
        watchdog.arm()

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal, number)


def end_with_launcher(tie_fd: int, stop: asyncio.Event, watchdog: Watchdog) -> None:
    """Sets `stop` when the pipe ends, which the kernel sees to even if the launcher is killed."""
    loop = asyncio.get_running_loop()

    def on_readable() -> None:
        if os.read(tie_fd, _TIE_BYTES):
            return  # what is written there means nothing
        loop.remove_reader(tie_fd)
        _log.warning("standard input has ended, so the launcher is gone: draining")
        stop.set()
        watchdog.arm()

    loop.add_reader(tie_fd, on_readable)


def reload_log_level(reload: Callable[[], NodeConfig]) -> None:
    """Of the configuration, log_level alone may change while a node runs."""
    try:
        level = reload().telemetry.log_level
    except ConfigError as error:
        _log.error("SIGHUP: the configuration is not usable, and the log level stays as it is: %s", error)
        return
    was_quiet = not _log.isEnabledFor(logging.WARNING)
    if was_quiet:  # said while it is heard, before or after
        set_log_level(level)
    _log.warning("SIGHUP: telemetry.log_level is %s; other changes of the file need a restart", level)
    set_log_level(level)
