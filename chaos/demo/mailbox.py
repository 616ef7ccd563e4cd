"""How services of different regions tell each other of a write: a message with its causal token.

It arrives at once, long before the data can: the reader then holds a token from the future of its own region, which is
the hardest thing to ask of a local read. Between regions that are cut off from each other, messages wait like
everything else.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

WAITING_MAX: Final = 64  # messages a pair of regions; the oldest ones are dropped, like in any bounded queue


@dataclass(frozen=True, slots=True)
class Message:
    """`key` was written at `revision`; who carries the token sees it."""

    sender: str
    key: str
    value: str
    revision: int
    token: str


class Mailbox:
    """One for all regions. are_connected: whether a message gets from one region to another now."""

    def __init__(self, regions: tuple[str, ...], are_connected: Callable[[str, str], bool]) -> None:
        self._are_connected = are_connected
        self._waiting = {
            (source, target): deque[Message](maxlen=WAITING_MAX)
            for source in regions
            for target in regions
            if source != target
        }
        self._news = asyncio.Event()

    def post(self, message: Message, dice: random.Random) -> None:
        """To one of the other regions."""
        targets = [target for source, target in self._waiting if source == message.sender]
        self._waiting[message.sender, dice.choice(targets)].append(message)
        self._news.set()

    async def take(self, target: str, stop: asyncio.Event) -> Message | None:
        """The next message for a region; None once `stop` is set."""
        while not stop.is_set():
            for (source, recipient), messages in self._waiting.items():
                if recipient == target and messages and self._are_connected(source, target):
                    return messages.popleft()
            self._news.clear()
            await self._news.wait()
        return None

    def wake(self) -> None:
        """Something else has changed: a line healed, or all is to end."""
        self._news.set()
