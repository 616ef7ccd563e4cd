"""Who reads: always the node of the own region as long as it lives, always with a token, always suspicious."""

import asyncio
import contextlib
from typing import Final

from chaos.demo import goods
from chaos.demo.mailbox import Message
from chaos.demo.writers import Deed, Desk
from chaos.history import Operation, Result

THINK_S_MAX: Final = 0.03
AFTER_FAILURE_S: Final = 0.1
COURIER: Final = "courier"
BROWSER: Final = "browser"
EXPORTER: Final = "exporter"
BETWEEN_EXPORTS_S: Final = 2.0


async def receive_news(desk: Desk) -> None:
    """Hears of a write in another region and reads it here, with the token of that write."""
    while (message := await desk.mailbox.take(desk.caller.region, desk.stop)) is not None:
        desk.caller.learn(message.token, message.revision)
        read = await desk.caller.get(message.key)
        if read.result is Result.OK:
            desk.caller.traffic.complaints.extend(_broken_word(message, read))
        else:
            await asyncio.sleep(AFTER_FAILURE_S)


async def browse(desk: Desk) -> None:
    """Looks at shared pages again and again; no page may ever get older."""
    pages = (*goods.CART_KEYS, *goods.SOLD_KEYS, goods.CONFIG_KEY)
    shown_version = 0
    while not desk.stop.is_set():
        read = await desk.caller.get(desk.dice.choice(pages))
        if read.key == goods.CONFIG_KEY and read.value is not None:
            version = goods.config_version(read.value)
            if version < shown_version:
                desk.caller.traffic.complaints.append(f"{read}: version {version} after version {shown_version}")
            shown_version = max(version, shown_version)
        await asyncio.sleep(desk.dice.uniform(0.0, THINK_S_MAX) + (AFTER_FAILURE_S if read.error else 0.0))


async def export(desk: Desk) -> None:
    """Takes all that there is, as a backup does, while others write."""
    while not desk.stop.is_set():
        pause_s = BETWEEN_EXPORTS_S if await desk.caller.export() else AFTER_FAILURE_S
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(desk.stop.wait(), pause_s)


READERS: Final[dict[str, Deed]] = {
    f"{COURIER}-1": receive_news,
    f"{COURIER}-2": receive_news,
    f"{BROWSER}-1": browse,
    f"{BROWSER}-2": browse,
    f"{EXPORTER}-1": export,
}


def _broken_word(message: Message, read: Operation) -> list[str]:
    """What is wrong with a read that was promised to show the message's write, or a newer one."""
    if read.mod_revision < message.revision:
        return [f"{read} was told of @{message.revision} from {message.sender}, and does not show it"]
    if read.mod_revision == message.revision and read.value != message.value:
        return [f"{read} shows another value than the write of that revision in {message.sender}"]
    return []
