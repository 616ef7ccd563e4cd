"""What a thread reads, for a task that awaits it: a pipe that says nothing holds up neither answers nor Ctrl-C."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import Final, TypeVar

Item = TypeVar("Item")

_END: Final = object()


async def read_in_thread(items: Iterator[Item]) -> AsyncIterator[Item]:
    """The items, each read when it is asked for. Raises what reading raises.

    The thread is a daemon: while it waits for input that never comes, the process can end.
    """
    loop = asyncio.get_running_loop()
    wanted: SimpleQueue[asyncio.Future[object] | None] = SimpleQueue()

    def read() -> None:
        with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            while (asked := wanted.get()) is not None:
                try:
                    item = next(items, _END)
                except Exception as error:  # whatever it is, it belongs to the one who waits
                    loop.call_soon_threadsafe(_fail, asked, error)
                else:
                    loop.call_soon_threadsafe(_answer, asked, item)

    threading.Thread(target=read, name="read-ahead", daemon=True).start()
    try:
        while True:
            asked: asyncio.Future[object] = loop.create_future()
            wanted.put(asked)
            item = await asked
            if item is _END:
                return
            yield item  # type: ignore[misc]
    finally:
        wanted.put(None)


def _answer(asked: "asyncio.Future[object]", item: object) -> None:
    if not asked.done():
        asked.set_result(item)


def _fail(asked: "asyncio.Future[object]", error: Exception) -> None:
    if not asked.done():
        asked.set_exception(error)
