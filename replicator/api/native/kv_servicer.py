"""KVService: each method turns a message into a use case and its answer into a message."""

# ruff: noqa: N802  # names and arguments are those of the generated servicer

from collections.abc import AsyncIterator, Callable
from typing import Final, TypeAlias

from replicator.api.context import Context
from replicator.api.interceptors.deadline import call_timeout_s
from replicator.api.interceptors.unary import OWN_METHODS, Handler
from replicator.api.native import columns, convert
from replicator.api.native.batch_stream import BatchStreams
from replicator.api.native.watch_streams import WatchStreams
from replicator.api.new_clients import NewClients
from replicator.model.limits import REQUEST_BYTES_MAX
from replicator.model.observe import Observer, Signal
from replicator.service.compact import CompactService
from replicator.service.read import ReadService
from replicator.service.scan import ScanRange, ScanService
from replicator.service.status import NodeIdentity
from replicator.service.transact import TransactService
from replicator.service.validate import (
    WriteId,
    check_key,
    check_request_bytes,
    check_transaction,
    check_value,
    refuse,
)
from replicator.service.write import WriteService, Written
from replicator.service.write_batch import check_batch
from replicator.v1 import kv_pb2, kv_pb2_grpc

READ_BATCH_BYTES_MAX: Final = 1 << 20  # of the values in one answer

Around: TypeAlias = Callable[[str, Handler], Handler]


class KVServicer(kv_pb2_grpc.KVServiceServicer):
    """Raises the error family; the errors interceptor turns it into statuses."""

    def __init__(
        self,
        write: WriteService,
        transact: TransactService,
        read: ReadService,
        scan: ScanService,
        identity: NodeIdentity,
        *,
        around: Around,
        observer: Observer,
        watches: WatchStreams,
        compact: CompactService,
        new_clients: NewClients,
    ) -> None:
        """around: puts the interceptors around the handler of one kind of batch, given a method's name."""
        self._write = write
        self._transact = transact
        self._read = read
        self._scan = scan
        self._identity = identity
        self._observer = observer
        self.watches = watches
        self._compact = compact
        self._new_clients = new_clients
        handlers = {
            "write": around(f"{OWN_METHODS}KVService/WriteBatch", self._write_batch),
            "read": around(f"{OWN_METHODS}KVService/ReadBatch", self._read_batch),
            "": around(f"{OWN_METHODS}KVService/Batch", _refuse_batch),
        }
        first = kv_pb2.BatchResponses(node_id=identity.node_id, region=identity.region)
        self.streams = BatchStreams(handlers, first)

    async def Put(self, request: kv_pb2.PutRequest, context: Context) -> kv_pb2.PutResponse:
        _check_write(request)
        written = await self._write.put(
            request.key, request.value, self._write_id(request, context), timeout_s=call_timeout_s()
        )
        return kv_pb2.PutResponse(revision=written.revision, token=written.token)

    async def Delete(self, request: kv_pb2.DeleteRequest, context: Context) -> kv_pb2.DeleteResponse:
        check_request_bytes(request.ByteSize())
        write_id = self._write_id(request, context)
        written = await self._write.delete(request.key, write_id, timeout_s=call_timeout_s())
        return kv_pb2.DeleteResponse(deleted=written.changed, revision=written.revision, token=written.token)

    async def CompareAndSet(
        self, request: kv_pb2.CompareAndSetRequest, context: Context
    ) -> kv_pb2.CompareAndSetResponse:
        _check_write(request)
        written = await self._write.compare_and_set(
            request.key,
            request.value,
            request.expected_revision,
            self._write_id(request, context),
            timeout_s=call_timeout_s(),
        )
        return _compared(written)

    async def Txn(self, request: kv_pb2.TxnRequest, context: Context) -> kv_pb2.TxnResponse:
        if request.ByteSize() > REQUEST_BYTES_MAX:
            check_transaction(request.transaction)  # the field at fault is named before the message as a whole is
        check_request_bytes(request.ByteSize())
        write_id = self._write_id(request, context)
        done = await self._transact.run(request.transaction, write_id, timeout_s=call_timeout_s())
        return kv_pb2.TxnResponse(
            result=done.result, revision=done.revision, token=done.token, duplicate=done.duplicate
        )

    async def Get(self, request: kv_pb2.GetRequest, context: Context) -> kv_pb2.GetResponse:
        check_request_bytes(request.ByteSize())
        options = convert.read_options(request.options, context)
        found = await self._read.get(request.key, options, timeout_s=call_timeout_s())
        return kv_pb2.GetResponse(
            kv=None if found.kv is None else convert.key_value(found.kv),
            revision=found.revision,
            token=found.token,
            staleness_ms=found.staleness_ms,
            node_id=self._identity.node_id,
            region=self._identity.region,
        )

    async def Scan(self, request: kv_pb2.ScanRequest, context: Context) -> kv_pb2.ScanResponse:
        check_request_bytes(request.ByteSize())
        options = convert.read_options(request.options, context)
        wanted = ScanRange(request.start, request.end, request.page_size, request.page_token)
        return convert.scan_response(await self._scan.scan(wanted, options, timeout_s=call_timeout_s()))

    async def Exchange(  # type: ignore[override]  # the stubs know generators only
        self, request: AsyncIterator[kv_pb2.BatchRequests], context: Context
    ) -> None:
        await self.streams.serve(request, context)

    async def Watch(  # type: ignore[override]  # the stubs know generators only
        self, request: kv_pb2.WatchRequest, context: Context
    ) -> None:
        await self.watches.serve(request, context)

    async def Compact(self, request: kv_pb2.CompactRequest, _context: Context) -> kv_pb2.CompactResponse:
        check_request_bytes(request.ByteSize())
        done = await self._compact.compact(request.revision, timeout_s=call_timeout_s())
        return kv_pb2.CompactResponse(revision=done.revision, token=done.token)

    def _write_id(self, request: convert.NamedWrite, context: Context) -> WriteId | None:
        """Raises Overloaded: its caller brings too many new clients."""
        write_id = convert.write_id(request)
        if write_id is not None:
            self._new_clients.admit(write_id.client_id, write_id.oldest_pending, context)
        return write_id

    async def _write_batch(self, request: kv_pb2.BatchRequest, context: Context) -> kv_pb2.BatchResponse:
        batch = columns.write_columns(request.write)
        self._observer.count(Signal.BATCH_OPERATIONS, batch.count, kind="write")
        check_batch(batch)
        check_request_bytes(request.ByteSize())
        self._new_clients.admit(batch.client_id, batch.oldest_pending, context)
        written = await self._write.write_batch(batch, timeout_s=call_timeout_s())
        return kv_pb2.BatchResponse(id=request.id, written=columns.written_result(written))

    async def _read_batch(self, request: kv_pb2.BatchRequest, context: Context) -> kv_pb2.BatchResponse:
        check_request_bytes(request.ByteSize())
        options = convert.read_options(request.read.options, context)
        keys = list(request.read.keys)
        self._observer.count(Signal.BATCH_OPERATIONS, len(keys), kind="read")
        found = await self._read.get_batch(keys, options, timeout_s=call_timeout_s(), bytes_max=READ_BATCH_BYTES_MAX)
        return kv_pb2.BatchResponse(id=request.id, read=columns.read_result(found))


async def _refuse_batch(_request: kv_pb2.BatchRequest, _context: Context) -> kv_pb2.BatchResponse:
    raise refuse("batch", "is neither of writes nor of reads, as far as this node knows; upgrade it")


def _check_write(request: kv_pb2.PutRequest | kv_pb2.CompareAndSetRequest) -> None:
    """The field at fault is named before the message as a whole is."""
    check_key(request.key)
    check_value(request.value)
    check_request_bytes(request.ByteSize())


def _compared(written: Written) -> kv_pb2.CompareAndSetResponse:
    return kv_pb2.CompareAndSetResponse(
        succeeded=written.changed,
        revision=written.revision,
        current=None if written.current is None else convert.key_value(written.current),
        token=written.token,
    )
