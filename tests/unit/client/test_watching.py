"""What the client makes of the messages of its streams: parts joined, broken streams resumed, nonsense refused."""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest

from replicator.client import watching
from replicator.client.watching import Patience, Watching
from replicator.model.changes import ChangeBatch
from replicator.model.errors import Internal, InvalidArgument, ReplicatorError, Unavailable
from replicator.v1 import kv_pb2

PUT = kv_pb2.CHANGE_KIND_PUT
UNHEARD_OF: Any = 9


def a_message(*places: tuple[int, int], revision: int, fragment: bool = False, size: int = 1) -> kv_pb2.WatchResponse:
    changes = [kv_pb2.Change(kind=PUT, key=b"k", value=b"v" * size, revision=r, position=p) for r, p in places]
    return kv_pb2.WatchResponse(changes=changes, revision=revision, token=f"t{revision}", fragment=fragment)


class Call:
    """One stream: messages, then an error."""

    def __init__(self, messages: Sequence[kv_pb2.WatchResponse]) -> None:
        self._messages = list(messages)
        self.is_cancelled = False

    async def read(self) -> kv_pb2.WatchResponse:
        if not self._messages:
            raise Unavailable("the connection broke")
        return self._messages.pop(0)

    def cancel(self) -> None:
        self.is_cancelled = True


class Nodes:
    """Stands in for channels, connections and failover. streams: one after the other, whatever is asked for."""

    is_closed = False

    def __init__(self, *streams: Sequence[kv_pb2.WatchResponse]) -> None:
        self._streams = [Call(messages) for messages in streams]
        self.calls: list[Call] = []
        self.asked: list[tuple[str, int]] = []
        self.failures: list[str] = []
        self.kv = self

    def to(self, _address: str) -> "Nodes":
        return self

    async def ready(self, _timeout_s: float) -> None:
        """At once."""

    def Watch(self, request: kv_pb2.WatchRequest) -> Call:  # noqa: N802
        self.asked.append((request.token, request.from_revision))
        self.calls.append(self._streams.pop(0))
        return self.calls[-1]

    def next_for_stream(self, _tried: set[str]) -> str:
        return f"node-{len(self.calls)}"

    def stream_serves(self, _address: str) -> None:
        """Nothing to learn."""

    def stream_failed(self, address: str, _error: ReplicatorError, _attempts: int) -> float:
        self.failures.append(address)
        return 0.0


async def batches(nodes: Nodes, count: int, from_revision: int = 1) -> list[ChangeBatch]:
    any_nodes: Any = nodes
    request = kv_pb2.WatchRequest(prefixes=[b""], from_revision=from_revision)
    found: list[ChangeBatch] = []
    async with aclosing(Watching(any_nodes, any_nodes, request, Patience(1.0, None)).batches()) as items:
        async for batch in items:
            found.append(batch)
            if len(found) == count:
                break
    return found


def places(found: Sequence[ChangeBatch]) -> list[list[tuple[int, int]]]:
    return [[(change.revision, change.position) for change in batch.changes] for batch in found]


async def test_parts_of_a_revision_come_as_one_batch() -> None:
    nodes = Nodes(
        [
            a_message((1, 0), revision=1),
            a_message((2, 0), (2, 1), revision=1, fragment=True),
            a_message((2, 2), revision=1, fragment=True),
            a_message(revision=2),
            a_message((3, 0), revision=3),
        ]
    )
    assert places(await batches(nodes, 3)) == [[(1, 0)], [(2, 0), (2, 1), (2, 2)], [(3, 0)]]
    assert nodes.calls[0].is_cancelled


async def test_a_broken_stream_goes_on_from_the_last_whole_batch_and_parts_come_again() -> None:
    nodes = Nodes(
        [a_message((1, 0), revision=1), a_message((2, 0), revision=1, fragment=True)],
        [],
        [a_message((2, 0), revision=1, fragment=True), a_message((2, 1), revision=2)],
    )
    assert places(await batches(nodes, 2)) == [[(1, 0)], [(2, 0), (2, 1)]]
    assert nodes.asked == [("", 1), ("t1", 0), ("t1", 0)]
    assert nodes.failures == ["node-0", "node-1"]


async def test_nothing_came_so_it_begins_again_where_the_caller_wanted() -> None:
    nodes = Nodes([], [kv_pb2.WatchResponse()], [a_message((7, 0), revision=7)])
    assert places(await batches(nodes, 2, from_revision=7)) == [[], [(7, 0)]]
    assert nodes.asked == [("", 7)] * 3


@pytest.mark.parametrize(
    "nonsense",
    [
        a_message((1, 0), revision=2),  # again
        a_message((3, 1), (3, 0), revision=3),  # out of order
        a_message(revision=1),  # a promise taken back
        a_message((3, 0), revision=2),  # shown, and not promised
        kv_pb2.WatchResponse(changes=[kv_pb2.Change(kind=UNHEARD_OF, revision=9)], revision=9),
    ],
)
async def test_what_contradicts_what_was_said_ends_the_watch(nonsense: kv_pb2.WatchResponse) -> None:
    with pytest.raises(Internal):
        await batches(Nodes([a_message((1, 0), (2, 0), revision=2), nonsense]), 2)


async def test_a_revision_that_is_too_large_to_join_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "REVISION_BYTES_MAX", 1000)
    parts = [a_message((1, place), revision=0, fragment=True, size=400) for place in range(3)]
    with pytest.raises(InvalidArgument, match="revision 1 hold more than"):
        await batches(Nodes(parts), 1)
