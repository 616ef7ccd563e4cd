"""Watch: a use case's batches become messages, one at a time, as fast as the client takes them.

A change is encoded once for all who watch it in the same form, and a message is put together from such pieces. While
gRPC holds a message that the client has not taken, it counts among the unread answers; the next one is not even made.
"""

import asyncio
import logging
from typing import Any, Final

import grpc.aio

from replicator.api.context import Context, address_of
from replicator.api.grpc_status import error_trailers, short, status_code
from replicator.api.interceptors.deadline import service_budget_s
from replicator.api.native.convert import key_value
from replicator.api.unread import UnreadAnswers
from replicator.model.changes import ChangeKind, StoredChange
from replicator.model.errors import Internal, ReplicatorError
from replicator.model.observe import Observer, Signal
from replicator.service.feed.wanted import Wanted, WatchOptions
from replicator.service.feed.watch import FeedBatch, Watch, WatchService
from replicator.service.status import NodeIdentity
from replicator.service.validate import check_request_bytes, refuse
from replicator.v1 import kv_pb2

_KIND: Final = {kv_pb2.CHANGE_KIND_PUT: ChangeKind.PUT, kv_pb2.CHANGE_KIND_DELETE: ChangeKind.DELETE}
_NUMBER: Final = {kind: number for number, kind in _KIND.items()}
_TAG: Final = bytes((kv_pb2.WatchResponse.CHANGES_FIELD_NUMBER << 3 | 2,))  # of a nested message
_log = logging.getLogger(__name__)


class _ClientGone(Exception):
    """Nobody is there to be told anything."""


class WatchStreams:
    """All open watches of a node, as gRPC knows them."""

    def __init__(
        self, watches: WatchService, unread: UnreadAnswers, identity: NodeIdentity, observer: Observer
    ) -> None:
        self._watches, self._unread, self._observer = watches, unread, observer
        self._identity = identity
        self._open: set[asyncio.Task[Any]] = set()
        self._none_open = asyncio.Event()
        self._none_open.set()

    def drain(self) -> None:
        """Each ends with ShuttingDown, so that its client goes on at another node at once."""
        self._watches.drain()

    async def wait_ended(self) -> None:
        """Returns once none is open."""
        await self._none_open.wait()

    async def serve(self, request: kv_pb2.WatchRequest, context: Any) -> None:
        """Until the client goes, the node drains, or history does not reach back so far."""
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self._none_open.clear()
        try:
            await self._serve(request, context)
        except ReplicatorError as error:
            await _abort(context, error)
        except _ClientGone:
            return
        except Exception as error:  # noqa: BLE001, RUF100  # the border: nothing of an unexpected error reaches the caller
            _log.error("a watch ended unexpectedly", exc_info=error)
            await _abort(context, Internal("a bug ended this watch; the log of the node says more"))
        finally:
            self._open.discard(task)
            if not self._open:
                self._none_open.set()

    async def _serve(self, request: kv_pb2.WatchRequest, context: Any) -> None:
        check_request_bytes(request.ByteSize())
        options = watch_options(request)
        wait_s = service_budget_s(request.wait_ms / 1000.0 if request.wait_ms else None)
        watch = await self._watches.open(options, address_of(context), timeout_s=wait_s)
        try:
            first = kv_pb2.WatchResponse(node_id=self._identity.node_id, region=self._identity.region)
            while True:
                await self._send(watch, first, options, context)
                first = kv_pb2.WatchResponse()
        finally:
            watch.close()

    async def _send(self, watch: Watch, head: kv_pb2.WatchResponse, options: WatchOptions, context: Any) -> None:
        peer = context.peer()
        await self._unread.wait_for_room(peer)
        batch = await watch.next()
        message = encoded(batch, head, options)
        held = self._unread.hold(peer, len(message), droppable=True, is_paced=True)
        try:
            await context.write(message)
        except grpc.aio.InternalError:  # so says gRPC if the client has gone
            raise _ClientGone from None
        finally:
            self._unread.release(held)
        if batch.changes:
            self._observer.count(Signal.CHANGES_SENT, len(batch.changes))


def watch_options(request: kv_pb2.WatchRequest) -> WatchOptions:
    """Raises InvalidArgument for a kind of a newer release."""
    kinds = set()
    for number in request.kinds:
        if number not in _KIND:
            raise refuse("kinds", f"has {number}, which this node does not know; upgrade it")
        kinds.add(_KIND[number])
    wanted = Wanted(
        frozenset(request.keys),
        tuple(request.prefixes),
        tuple((bounds.start, bounds.end) for bounds in request.ranges),
        frozenset(kinds) if kinds else None,
    )
    return WatchOptions(
        wanted, request.from_revision, request.token, request.keys_only, request.with_previous, request.progress_ms
    )


def encoded(batch: FeedBatch, head: kv_pb2.WatchResponse, options: WatchOptions) -> bytes:
    """A WatchResponse. head: what it holds besides; is filled in."""
    head.revision, head.token = batch.revision, batch.token
    head.caught_up, head.fragment = batch.caught_up, batch.is_part
    form = (options.keys_only, options.with_previous)
    parts = [head.SerializeToString()]
    for change in batch.changes:
        piece = change.encoded.get(form)
        if piece is None:
            piece = change.encoded[form] = _piece(change, *form)
        parts.append(piece)
    return b"".join(parts)


def _piece(change: StoredChange, keys_only: bool, with_previous: bool) -> bytes:
    """One entry of `changes`, as it stands in a message."""
    message = kv_pb2.Change(
        kind=_NUMBER[change.kind],
        key=change.key,
        value=b"" if keys_only else change.value,
        revision=change.revision,
        position=change.position,
        create_revision=change.create_revision,
        version=change.version,
        time_ms=change.time_ms,
    )
    if with_previous and change.previous is not None:
        message.previous.CopyFrom(key_value(change.previous))
        if keys_only:
            message.previous.ClearField("value")
    data = message.SerializeToString()
    return _TAG + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


async def _abort(context: Context, error: ReplicatorError) -> None:
    await context.abort(status_code(error), short(error.message), error_trailers(error))
