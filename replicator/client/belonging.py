"""Which process and which event loop a client belongs to: nothing of it works in another one, and gRPC does not say so.

A process that is forked once gRPC has had a connection gets none of gRPC's threads, but their locks: a call in it
crashes, hangs, or outlives its deadline, also a call of a client that is new there, and also if all clients were closed
before. So it is refused before gRPC is touched.
"""

import asyncio
import gc
import os
from typing import Any, Final
from weakref import WeakSet

_FORKED: Final = (
    "this process was forked after a client was used, and no client can work in it: start it by spawn or forkserver "
    "(multiprocessing.get_context('spawn')), or fork before the first call of a client"
)
_LOOP_CLOSED: Final = (
    "the event loop of this client has been closed: connect() and close the client within one asyncio.run(), best by "
    "'async with'"
)
_OTHER_LOOP: Final = (
    "this client belongs to another event loop: connect() a client in each loop; to call it from a thread, use "
    "asyncio.run_coroutine_threadsafe() with its loop"
)

# gRPC's own handlers of a fork crash the new process now and then, by SIGSEGV, while other threads are in gRPC. It
# reads this when it is imported, so this module comes first. To set it to 1 is to insist on them.
GRPC_SETTING: Final = os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

_holders: WeakSet[Any] = WeakSet()  # of connections that are open
_kept_for_ever: list[Any] = []  # in a forked process, which would crash if gRPC released them there
_is_used = False  # a client has made a call in this process, or in the one that it was forked from
_is_cut_off = False


def check_process() -> None:
    """Raises RuntimeError if no client can work in this process."""
    if _is_cut_off:
        raise RuntimeError(_FORKED)


class Belonging:
    """Of one client, from its first call on."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def is_here(self) -> bool:
        """True for a call in the process and loop of those before it. Costs little: asked by every call."""
        return not _is_cut_off and self._loop is asyncio.get_running_loop()

    def take(self, holder: Any) -> None:
        """The running loop becomes that of the client, unless it has one. Raises RuntimeError naming the remedy.

        holder: of the connections, until `give_up`.
        """
        global _is_used  # noqa: PLW0603  # as below
        self.check()
        if self._loop is None:
            _is_used = True
            self._loop = asyncio.get_running_loop()
            _holders.add(holder)

    def check(self) -> None:
        """Raises RuntimeError naming the remedy."""
        check_process()
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            raise RuntimeError(_LOOP_CLOSED if self._loop.is_closed() else _OTHER_LOOP)

    def give_up(self, holder: Any) -> None:
        """The connections are closed, or nobody will use them."""
        _holders.discard(holder)


def _cut_off() -> None:
    global _is_cut_off  # noqa: PLW0603  # a fact of the process
    _is_cut_off = _is_used
    if _is_cut_off:
        gc.freeze()  # what is garbage already must not end here either
        _kept_for_ever.extend(_holders)


os.register_at_fork(after_in_child=_cut_off)
