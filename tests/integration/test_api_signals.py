"""What a call leaves behind for operators: one duration, one span under its caller's."""

from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from replicator.api import ApiServer, ApiSettings
from replicator.model.errors import Internal
from replicator.model.observe import Signal, SilentObserver
from replicator.v1 import kv_pb2, kv_pb2_grpc
from tests.support.api_nodes import no_cut, services_of
from tests.support.memory_cluster import MemoryCluster

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Notebook(SilentObserver):
    """Writes down the labels of durations."""

    def __init__(self) -> None:
        self.calls: list[dict[str, str]] = []

    def record(self, signal: Signal, value: float, **labels: str) -> None:
        assert signal is Signal.CALL_S
        assert value >= 0.0
        self.calls.append(labels)


async def test_each_call_has_one_duration_and_one_span_with_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter, provider, notebook = InMemorySpanExporter(), TracerProvider(), Notebook()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    node = MemoryCluster().add("n1", "eu")
    services = services_of(node)
    server = ApiServer(ApiSettings("127.0.0.1:0", 8, 1 << 24, 500), services, notebook, no_cut)
    await server.start()
    node.raises.append(Internal("a bug"))
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.bound_port}") as channel:
            stub: Any = kv_pb2_grpc.KVServiceStub(channel)
            parent = (("traceparent", f"00-{TRACE_ID}-{PARENT_ID}-01"),)
            for request, metadata in ((kv_pb2.GetRequest(key=b"k"), parent), (kv_pb2.GetRequest(), None)):
                with suppress(grpc.aio.AioRpcError):
                    await stub.Get(request, metadata=metadata)
            with suppress(grpc.aio.AioRpcError):
                await stub.Put(kv_pb2.PutRequest(key=b"k"))
    finally:
        await server.stop(0.0)
        provider.shutdown()

    codes = ["OK", "INVALID_ARGUMENT", "INTERNAL"]
    assert [call["code"] for call in notebook.calls] == codes
    assert [call["method"] for call in notebook.calls] == [
        "/replicator.v1.KVService/Get",
        "/replicator.v1.KVService/Get",
        "/replicator.v1.KVService/Put",
    ]
    spans = exporter.get_finished_spans()
    attributes = [dict(span.attributes or {}) for span in spans]
    assert [span.name for span in spans][-1] == "replicator.v1.KVService/Put"
    assert {span.kind for span in spans} == {SpanKind.SERVER}
    assert [found["rpc.response.status_code"] for found in attributes] == codes
    assert {found["rpc.system.name"] for found in attributes} == {"grpc"}
    assert [span.status.status_code for span in spans] == [StatusCode.UNSET, StatusCode.UNSET, StatusCode.ERROR]
    assert spans[0].parent is not None
    assert (f"{spans[0].parent.trace_id:032x}", f"{spans[0].parent.span_id:016x}") == (TRACE_ID, PARENT_ID)


class Counts(Notebook):
    """Adds up what is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: dict[str, int] = {}

    def count(self, signal: Signal, amount: int = 1, **labels: str) -> None:
        assert signal is Signal.BATCH_OPERATIONS
        self.operations[labels["kind"]] = self.operations.get(labels["kind"], 0) + amount


async def test_a_batch_has_one_duration_and_one_span_and_its_operations_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exporter, provider, notebook = InMemorySpanExporter(), TracerProvider(), Counts()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    node = MemoryCluster().add("n1", "eu")
    services = services_of(node)
    server = ApiServer(ApiSettings("127.0.0.1:0", 8, 1 << 24, 500), services, notebook, no_cut)
    await server.start()
    batches = [
        kv_pb2.BatchRequest(
            id=1,
            write=kv_pb2.WriteBatch(keys=[b"a", b"b", b"c"], values=[b"v"] * 3),
            metadata={"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"},
        ),
        kv_pb2.BatchRequest(id=2, read=kv_pb2.ReadBatch(keys=[b"a", b""])),
    ]
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.bound_port}") as channel:
            stub: Any = kv_pb2_grpc.KVServiceStub(channel)
            for batch in batches:
                call = stub.Exchange(iter([kv_pb2.BatchRequests(batches=[batch])]))
                assert [answer.id async for message in call for answer in message.batches] == [batch.id]
    finally:
        await server.stop(0.0)
        provider.shutdown()

    labels = [(call["method"], call["code"]) for call in notebook.calls]
    service = "/replicator.v1.KVService"
    assert labels == [(f"{service}/WriteBatch", "OK"), (f"{service}/ReadBatch", "INVALID_ARGUMENT")]
    assert notebook.operations == {"write": 3, "read": 2}
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == ["replicator.v1.KVService/WriteBatch", "replicator.v1.KVService/ReadBatch"]
    assert spans[0].parent is not None
    assert f"{spans[0].parent.trace_id:032x}" == TRACE_ID
