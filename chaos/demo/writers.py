"""Who writes: each worker repeats one deed of a shop, and goes on whatever an attempt ends with."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Final

from chaos.demo import goods
from chaos.demo.caller import Caller
from chaos.demo.mailbox import Mailbox, Message
from chaos.history import Operation, Result

ATTEMPTS_MAX: Final = 12  # of one update that always comes second; then the shopper gives up
THINK_S_MAX: Final = 0.08
THINK_OF_CONFIG_S: Final = 1.5
AFTER_FAILURE_S: Final = 0.2

Deed = Callable[["Desk"], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class Desk:
    """What a writer works with."""

    caller: Caller
    mailbox: Mailbox
    dice: random.Random
    stop: asyncio.Event


async def place_orders(desk: Desk) -> None:
    """A new key each time. An order with an unknown outcome is left so: another put of it would be another write."""
    lane = desk.caller.worker.rpartition("/")[2]
    for number in count(1):
        key, value = goods.an_order(desk.caller.region, f"{lane}-{number:04d}", desk.dice)
        operation = await desk.caller.put(key, value)
        _tell(desk, operation)
        if await _is_over(desk, operation, THINK_S_MAX):
            return


async def fill_carts(desk: Desk) -> None:
    """Adds one item after the other to carts that all regions share."""
    for number in count(1):
        item_id = f"{desk.caller.worker}/{number}"
        add = partial(goods.with_item, item_id, desk.dice)
        last = await _update(desk, desk.dice.choice(goods.CART_KEYS), add, element=item_id)
        if await _is_over(desk, last, THINK_S_MAX):
            return


async def count_sales(desk: Desk) -> None:
    """Adds to numbers that all regions share."""
    while True:
        quantity = desk.dice.randint(1, 3)
        add = partial(goods.with_sale, quantity)
        last = await _update(desk, desk.dice.choice(goods.SOLD_KEYS), add, amount=quantity)
        if await _is_over(desk, last, THINK_S_MAX):
            return


async def edit_config(desk: Desk) -> None:
    """Publishes new versions of one document."""
    publish = partial(goods.next_config, desk.caller.region, desk.dice)
    while True:
        last = await _update(desk, goods.CONFIG_KEY, publish)
        if await _is_over(desk, last, THINK_OF_CONFIG_S):
            return


WRITERS: Final[dict[str, Deed]] = {
    "orders-1": place_orders,
    "orders-2": place_orders,
    "orders-3": place_orders,
    "carts-1": fill_carts,
    "carts-2": fill_carts,
    "sales-1": count_sales,
    "sales-2": count_sales,
    "config-1": edit_config,
}


async def _update(
    desk: Desk, key: str, change: Callable[[str | None], str], *, element: str | None = None, amount: int = 0
) -> Operation:
    """Reads locally, changes, swaps; starts again from what was found if another worker came first. The last attempt.

    An unknown outcome ends the update: it may have happened, so another attempt could make it happen twice.
    """
    last = await desk.caller.get(key)
    if last.result is not Result.OK:
        return last
    value, expected = last.value, last.mod_revision
    for _ in range(ATTEMPTS_MAX):
        swapped = await desk.caller.swap(key, change(value), expected=expected, element=element, amount=amount)
        last = swapped.operation
        if swapped.found is None or desk.stop.is_set():
            break
        value = None if swapped.found.value is None else swapped.found.value.decode()
        expected = swapped.found.mod_revision
    _tell(desk, last)
    return last


def _tell(desk: Desk, operation: Operation) -> None:
    """Lets a service in another region know of an acknowledged write."""
    if operation.is_write and operation.result is Result.OK:
        message = Message(desk.caller.region, operation.key, operation.value or "", operation.revision, operation.token)
        desk.mailbox.post(message, desk.dice)


async def _is_over(desk: Desk, last: Operation, think_s_max: float) -> bool:
    """Thinks, longer after a failure; True once all is to end."""
    pause_s = desk.dice.uniform(0.0, think_s_max) + (AFTER_FAILURE_S if last.error else 0.0)
    try:
        await asyncio.wait_for(desk.stop.wait(), pause_s)
    except TimeoutError:
        return False
    return True
