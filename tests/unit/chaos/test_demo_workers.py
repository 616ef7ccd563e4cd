"""The demo's workers: calls labelled as what they turned out to be, messages delivered only where lines are whole."""

import asyncio
import random
from typing import Any, cast

from chaos.demo import goods
from chaos.demo.caller import Caller, Traffic
from chaos.demo.mailbox import WAITING_MAX, Mailbox, Message
from chaos.demo.readers import receive_news
from chaos.demo.writers import Desk, count_sales, fill_carts
from chaos.history import History, Kind, Operation, Result
from replicator.client import Client
from replicator.model.errors import NoLeader, OutcomeUnknown, ReplicatorError
from replicator.model.values import CompareAndSetResult, GetResult, PutResult


class ScriptedClient:
    """Answers every call with the next line of its script; stops the show when the script ends."""

    def __init__(self, stop: asyncio.Event, *script: object) -> None:
        self.stop = stop
        self.script = list(script)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def _next(self, name: str, facts: dict[str, Any]) -> Any:
        self.asked.append((name, facts))
        answer = self.script.pop(0)
        if not self.script:
            self.stop.set()
        if isinstance(answer, ReplicatorError):
            raise answer
        return answer

    async def put(self, key: bytes, value: bytes, *, timeout_s: float) -> Any:
        return await self._next("put", {"key": key, "value": value})

    async def get(self, key: bytes, *, token: str | None, timeout_s: float) -> Any:
        return await self._next("get", {"key": key, "token": token})

    async def compare_and_set(self, key: bytes, value: bytes, *, if_revision: int, timeout_s: float) -> Any:
        return await self._next("swap", {"key": key, "value": value, "if_revision": if_revision})


def found(value: bytes | None, mod_revision: int, revision: int) -> GetResult:
    return GetResult(b"k", value, mod_revision, 1, 1, revision, f"t{revision}", 1.0, "eu-1", "eu")


def a_desk(*script: object) -> tuple[Desk, ScriptedClient]:
    stop = asyncio.Event()
    client = ScriptedClient(stop, *script)
    caller = Caller(cast(Client, client), "eu/worker-1", "eu", Traffic(History()))
    return Desk(caller, Mailbox(("eu", "us"), lambda *_: True), random.Random(1), stop), client


def recorded(desk: Desk) -> list[Operation]:
    return list(desk.caller.traffic.history)


async def test_an_acknowledged_put_is_recorded_with_its_revision_and_token() -> None:
    desk, _ = a_desk(PutResult(5, "t5"))
    operation = await desk.caller.put("k", "v")
    assert (operation.kind, operation.result, operation.revision, operation.token) == (Kind.PUT, Result.OK, 5, "t5")
    assert recorded(desk) == [operation]
    assert desk.caller.token == "t5"
    assert desk.caller.traffic.writes_in_flight == 0


async def test_an_error_that_leaves_the_outcome_open_is_recorded_as_unknown() -> None:
    desk, _ = a_desk(OutcomeUnknown("reply lost"), NoLeader("election"))
    unknown, failed = await desk.caller.put("k", "v"), await desk.caller.put("k", "v")
    assert (unknown.result, unknown.error) == (Result.UNKNOWN, "OUTCOME_UNKNOWN")
    assert (failed.result, failed.error) == (Result.FAILED, "NO_LEADER")


async def test_a_read_that_fails_is_never_unknown() -> None:
    desk, _ = a_desk(OutcomeUnknown("cannot be for a read, but must not count as a write either"))
    assert (await desk.caller.get("k")).result is Result.FAILED


async def test_a_lost_comparison_has_failed_for_sure_and_says_what_was_found() -> None:
    desk, _ = a_desk(CompareAndSetResult(False, 9, b"theirs", 8, "t9"))
    swapped = await desk.caller.swap("k", "mine", expected=4)
    assert (swapped.operation.result, swapped.operation.error) == (Result.FAILED, "")
    assert swapped.found is not None
    assert (swapped.found.value, swapped.found.mod_revision) == (b"theirs", 8)


async def test_the_newest_token_is_carried_whoever_it_came_from() -> None:
    desk, client = a_desk(found(b"v", 3, 7), found(b"v", 3, 9), found(b"v", 3, 9))
    await desk.caller.get("k")
    desk.caller.learn("from-elsewhere", 8)
    desk.caller.learn("too-old", 2)
    await desk.caller.get("k")
    await desk.caller.get("k")
    assert [facts["token"] for _, facts in client.asked] == [None, "from-elsewhere", "t9"]


async def test_a_cart_update_that_came_second_starts_again_from_what_it_found() -> None:
    desk, client = a_desk(
        found(None, 0, 3),
        CompareAndSetResult(False, 5, goods.compact([{"id": "theirs"}]).encode(), 5, "t5"),
        CompareAndSetResult(True, 6, None, 0, "t6"),
    )
    await fill_carts(desk)
    _, (_, first), (_, second) = client.asked
    assert (first["if_revision"], second["if_revision"]) == (0, 5)
    assert b"theirs" in second["value"]
    assert b"eu/worker-1/1" in second["value"]
    assert [o.element for o in recorded(desk) if o.is_write] == ["eu/worker-1/1"] * 2


async def test_an_increment_with_unknown_outcome_is_not_tried_again() -> None:
    desk, client = a_desk(found(b"10", 4, 4), OutcomeUnknown("reply lost"))
    await count_sales(desk)
    assert [name for name, _ in client.asked] == ["get", "swap"]
    assert recorded(desk)[-1].amount > 0


def a_message(key: str = "k", revision: int = 8) -> Message:
    return Message("us", key, "v", revision, f"t{revision}")


async def test_a_courier_brings_the_token_of_the_message_and_complains_of_an_older_answer() -> None:
    desk, client = a_desk(found(b"old", 7, 9))
    desk.mailbox.post(a_message(), desk.dice)
    await receive_news(desk)
    assert client.asked[0][1]["token"] == "t8"
    [complaint] = desk.caller.traffic.complaints
    assert "@8 from us" in complaint


async def test_a_courier_complains_of_another_value_at_the_same_revision() -> None:
    desk, _ = a_desk(found(b"other", 8, 9))
    desk.mailbox.post(a_message(), desk.dice)
    await receive_news(desk)
    assert len(desk.caller.traffic.complaints) == 1


async def test_a_courier_is_content_with_a_newer_value() -> None:
    desk, _ = a_desk(found(b"newer", 9, 9))
    desk.mailbox.post(a_message(), desk.dice)
    await receive_news(desk)
    assert desk.caller.traffic.complaints == []


async def test_messages_wait_while_their_line_is_cut_and_arrive_after_the_heal() -> None:
    cut: set[str] = {"us"}
    mailbox = Mailbox(("eu", "us"), lambda source, _: source not in cut)
    stop = asyncio.Event()
    mailbox.post(a_message(), random.Random(1))
    taking = asyncio.create_task(mailbox.take("eu", stop))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not taking.done()
    cut.clear()
    mailbox.wake()
    assert await taking == a_message()


async def test_a_full_mailbox_drops_the_oldest_messages() -> None:
    mailbox = Mailbox(("eu", "us"), lambda *_: True)
    for revision in range(WAITING_MAX + 10):
        mailbox.post(a_message(revision=revision), random.Random(1))
    first = await mailbox.take("eu", asyncio.Event())
    assert first is not None
    assert first.revision == 10


async def test_nobody_waits_for_messages_once_all_is_to_end() -> None:
    mailbox = Mailbox(("eu", "us"), lambda *_: True)
    stop = asyncio.Event()
    taking = asyncio.create_task(mailbox.take("eu", stop))
    await asyncio.sleep(0)
    stop.set()
    mailbox.wake()
    assert await taking is None
