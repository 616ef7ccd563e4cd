"""The API over real gRPC: what callers get for good and bad calls, and what never reaches them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import replicator
from replicator.client.wire_errors import error_of
from replicator.model.causal_token import CausalToken, token_scope
from replicator.model.errors import ERROR_OF_REASON, ReplicatorError, StartupError, error_from_reason
from replicator.model.ids import LogIndex, Revision
from replicator.model.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX
from replicator.v1 import kv_pb2, kv_pb2_grpc
from tests.support.api_nodes import ApiNode, an_api_server, serving
from tests.support.authority import Authority, client_tls, opened, tls_files
from tests.support.memory_cluster import CLUSTER_ID, SCOPE, MemoryCluster

SHORT_S = 1.0  # of a call that ends by its time: enough to reach a busy server first


@pytest.fixture
async def api() -> AsyncIterator[ApiNode]:
    cluster = MemoryCluster()
    cluster.add("n1", "eu")
    async with serving(cluster) as (node,):
        yield node


@pytest.fixture
async def client(api: ApiNode) -> AsyncIterator[replicator.Client]:
    async with replicator.connect([api.address], "eu") as connected:
        yield connected


@pytest.fixture
async def stub(api: ApiNode) -> AsyncIterator[Any]:
    """Raw gRPC, as any other language would call."""
    options = [("grpc.max_send_message_length", 16 << 20)]
    async with grpc.aio.insecure_channel(api.address, options=options) as channel:
        yield kv_pb2_grpc.KVServiceStub(channel)


async def raw_error(call: Any) -> tuple[grpc.StatusCode, ReplicatorError]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), error_of(caught.value, "node", is_write=True)


async def test_the_main_calls_do_what_they_say(client: replicator.Client) -> None:
    put = await client.put(b"k", b"v")
    got = await client.get(b"k", token=put.token)
    lost = await client.compare_and_set(b"k", b"x", if_revision=put.revision + 1)
    won = await client.compare_and_set(b"k", b"w", if_revision=put.revision)
    new = await client.compare_and_set(b"n", b"1", if_revision=0)
    gone = await client.delete(b"k")
    absent = await client.get(b"k", consistency=replicator.LINEARIZABLE)

    assert (got.value, got.mod_revision, got.version, got.region, got.node_id) == (b"v", put.revision, 1, "eu", "n1")
    assert got.staleness_ms == 0.0
    assert (lost.succeeded, lost.value, lost.mod_revision) == (False, b"v", put.revision)
    assert (won.succeeded, won.value, won.revision) == (True, None, put.revision + 1)
    assert (won.mod_revision, new.mod_revision) == (won.revision, new.revision)
    assert (new.succeeded, new.revision) == (True, put.revision + 2)
    assert (gone.deleted, (await client.delete(b"k")).deleted) == (True, False)
    assert (absent.value, absent.mod_revision, absent.version) == (None, 0, 0)


async def test_status_names_the_node_its_cluster_and_its_members(api: ApiNode, client: replicator.Client) -> None:
    await client.put(b"k", b"v")

    status = await client.status(api.address, state_hash=True)

    assert (status.cluster_id, status.node_id, status.role, status.live_keys) == (CLUSTER_ID, "n1", "leader", 1)
    assert (status.state_hash, status.state_hash_index) == api.node.replica.state_hash()
    assert status.rolling_hash == api.node.replica.rolling_hash.hex()
    assert [(member.node_id, member.api_address) for member in status.members] == [("n1", api.address)]


@pytest.mark.parametrize("kind", list(ERROR_OF_REASON.values()))
async def test_every_error_arrives_as_its_own_type_with_all_that_it_says(
    kind: type[ReplicatorError], api: ApiNode, stub: Any
) -> None:
    api.node.raises.append(kind("what was wrong", metadata={"limit": "5"}, retry_after_s=0.25))

    _, error = await raw_error(stub.Put(kv_pb2.PutRequest(key=b"k")))

    assert type(error) is kind
    assert (error.message, error.metadata, error.retry_after_s) == ("what was wrong", {"limit": "5"}, 0.25)
    assert error.applied == kind.applied


@pytest.mark.parametrize(
    "kind", [kind for kind in ERROR_OF_REASON.values() if not kind.retryable and kind.reason != "SESSION_EXPIRED"]
)
async def test_the_sdk_raises_what_the_node_raised_with_grpc_at_most_as_its_cause(
    kind: type[ReplicatorError], api: ApiNode, client: replicator.Client
) -> None:
    api.node.raises.extend(kind("no") for _ in range(100))

    with pytest.raises(ReplicatorError) as in_a_batch:
        await client.put(b"k", b"v", timeout_s=SHORT_S)
    with pytest.raises(ReplicatorError) as alone:
        await client.remove_member("n9", timeout_s=SHORT_S)

    assert (type(in_a_batch.value), type(alone.value)) == (kind, kind)
    assert isinstance(alone.value.__cause__, grpc.aio.AioRpcError)


@pytest.mark.parametrize("kind", [kind for kind in ERROR_OF_REASON.values() if kind.retryable])
async def test_the_sdk_retries_what_a_retry_can_help_until_it_does(
    kind: type[ReplicatorError], api: ApiNode, client: replicator.Client
) -> None:
    api.node.raises.extend(kind("not yet", retry_after_s=0.001) for _ in range(3))

    assert (await client.put(b"k", b"v")).revision == 1

    names = {request.write.SerializeToString() for method, request in api.disturbance.requests}
    assert (len(api.disturbance.requests), len(names)) == (4, 1)


@pytest.mark.parametrize("kind", [kind for kind in ERROR_OF_REASON.values() if kind.retryable])
async def test_the_sdk_raises_the_last_error_when_retries_do_not_help_in_time(
    kind: type[ReplicatorError], api: ApiNode, client: replicator.Client
) -> None:
    api.node.raises.extend(kind("never") for _ in range(1000))

    with pytest.raises((kind, replicator.OutcomeUnknown)) as caught:
        await client.put(b"k", b"v", timeout_s=SHORT_S)

    if type(caught.value) is not kind:  # on a busy machine, one attempt had no answer in its time
        assert caught.value.message.endswith("the last one ended with: never")


async def test_an_unexpected_exception_is_logged_once_here_and_not_shown_there(
    api: ApiNode, stub: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(name: str, request: Any, context: Any) -> None:
        raise ZeroDivisionError("secret detail")

    api.disturbance.before = fail
    with caplog.at_level(logging.ERROR):
        code, error = await raw_error(stub.Put(kv_pb2.PutRequest(key=b"k")))

    assert (code, type(error)) == (grpc.StatusCode.INTERNAL, replicator.Internal)
    assert "secret" not in error.message
    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert "secret detail" in caplog.text


async def test_bad_input_names_field_and_limit(client: replicator.Client) -> None:
    calls: dict[str, list[Awaitable[object]]] = {
        "key": [
            client.put(b"", b"v"),
            client.put(b"k" * (KEY_BYTES_MAX + 1), b"v"),
            client.get(b""),
            client.delete(b""),
            client.compare_and_set(b"", b"v", if_revision=0),
        ],
        "value": [client.put(b"k", b"v" * (VALUE_BYTES_MAX + 1)), client.put(b"k", b"v" * (5 << 19))],
        "request": [client.put(b"k", b"v" * (5 << 20))],
        "max_staleness_ms": [
            client.get(b"k", consistency=replicator.BOUNDED),
            client.get(b"k", max_staleness_ms=5),
            client.get(b"k", consistency=replicator.BOUNDED, max_staleness_ms=-1),
        ],
        "if_revision": [client.compare_and_set(b"k", b"v", if_revision=-1)],
        "timeout_s": [client.get(b"k", timeout_s=0)],
    }
    for field, wrong in calls.items():
        for call in wrong:
            with pytest.raises(replicator.InvalidArgument) as caught:
                await call
            assert caught.value.metadata["field"] == field
    with pytest.raises(replicator.InvalidArgument, match="prefix"):
        _ = [kv async for kv in client.scan(prefix=b"a", start=b"a")]
    with pytest.raises(replicator.InvalidArgument, match="not after start"):
        _ = [kv async for kv in client.scan(start=b"b", end=b"a")]


async def test_an_oversized_request_gets_our_error_and_a_huge_one_grpcs(stub: Any) -> None:
    padding = b"\xfa\x3f" + b"\x80\x80\x68" + b"x" * (13 << 17)  # an unknown field of 1.6 MiB
    padded = kv_pb2.PutRequest.FromString(kv_pb2.PutRequest(key=b"k").SerializeToString() + padding)
    code, error = await raw_error(stub.Put(padded))
    assert (code, error.metadata["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, "request")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Put(kv_pb2.PutRequest(key=b"k", value=b"v" * (5 << 20)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_level_of_a_newer_release_is_refused_not_guessed(stub: Any) -> None:
    options = kv_pb2.ReadOptions()
    options.ParseFromString(b"\x08\x63")  # consistency 99
    _, error = await raw_error(stub.Get(kv_pb2.GetRequest(key=b"k", options=options)))

    assert error.metadata["field"] == "options.consistency"


async def test_tokens_that_are_malformed_foreign_or_ahead_get_three_different_answers(
    client: replicator.Client,
) -> None:
    await client.put(b"k", b"v")
    with pytest.raises(replicator.InvalidToken, match="malformed"):
        await client.get(b"k", token="garbage")
    with pytest.raises(replicator.InvalidToken, match="another cluster"):
        await client.get(b"k", token=CausalToken(LogIndex(1)).encode(token_scope(b"bank")))
    with pytest.raises(replicator.TokenAhead):
        await client.get(b"k", token=CausalToken(LogIndex(99)).encode(SCOPE))


async def test_a_token_in_the_metadata_counts_when_the_field_is_empty(stub: Any) -> None:
    ahead = CausalToken(LogIndex(99)).encode(SCOPE)
    fine = CausalToken(LogIndex(1), Revision(0)).encode(SCOPE)
    metadata = (("x-causal-token", ahead),)

    code, _ = await raw_error(stub.Get(kv_pb2.GetRequest(key=b"k"), metadata=metadata))
    assert code is grpc.StatusCode.OUT_OF_RANGE
    request = kv_pb2.GetRequest(key=b"k", options=kv_pb2.ReadOptions(token=fine))
    assert (await stub.Get(request, metadata=metadata)).token == fine


async def test_a_deadline_ends_a_wait_with_a_typed_error(api: ApiNode, client: replicator.Client) -> None:
    api.node.hold()
    put = CausalToken(api.node.cluster.commit(b"")).encode(SCOPE)

    with pytest.raises(replicator.ReplicaBehind):
        await client.get(b"k", token=put, timeout_s=SHORT_S)


async def test_a_call_without_a_deadline_ends_all_the_same(
    api: ApiNode, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replicator.api.interceptors.deadline.CALL_TIMEOUT_S_DEFAULT", 0.1)
    api.node.hold()
    token = CausalToken(api.node.cluster.commit(b"")).encode(SCOPE)

    code, error = await raw_error(stub.Get(kv_pb2.GetRequest(key=b"k", options=kv_pb2.ReadOptions(token=token))))

    assert (code, type(error)) == (grpc.StatusCode.UNAVAILABLE, replicator.ReplicaBehind)


async def test_a_call_that_its_caller_gives_up_ends_on_the_server_too(api: ApiNode, stub: Any) -> None:
    entered, ended = asyncio.Event(), asyncio.Event()

    async def wait(name: str, request: Any, context: Any) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    api.disturbance.before = wait
    call = stub.Get(kv_pb2.GetRequest(key=b"k"))
    await entered.wait()
    call.cancel()
    await asyncio.wait_for(ended.wait(), 10.0)


async def test_calls_beyond_the_limit_are_refused_and_those_within_go_on() -> None:
    cluster = MemoryCluster()
    cluster.add("n1", "eu")
    go_on, entered = asyncio.Event(), asyncio.Semaphore(0)

    async def wait(name: str, request: Any, context: Any) -> None:
        entered.release()
        await go_on.wait()

    async with serving(cluster, calls_in_flight_max=2) as (api,), grpc.aio.insecure_channel(api.address) as channel:
        stub: Any = kv_pb2_grpc.KVServiceStub(channel)
        api.disturbance.before = wait
        within = [asyncio.ensure_future(stub.Get(kv_pb2.GetRequest(key=b"k"))) for _ in range(2)]
        for _ in within:
            await entered.acquire()

        code, error = await raw_error(stub.Get(kv_pb2.GetRequest(key=b"k")))
        assert (code, type(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, replicator.Overloaded)
        assert error.retry_after_s is not None

        go_on.set()
        assert len(await asyncio.gather(*within)) == 2


async def test_a_draining_node_refuses_new_calls_and_ends_those_in_flight() -> None:
    cluster = MemoryCluster()
    cluster.add("n1", "eu")
    go_on, entered = asyncio.Event(), asyncio.Event()

    async def wait(name: str, request: Any, context: Any) -> None:
        entered.set()
        await go_on.wait()

    async with serving(cluster) as (api,), grpc.aio.insecure_channel(api.address) as channel:
        stub: Any = kv_pb2_grpc.KVServiceStub(channel)
        api.disturbance.before = wait
        in_flight = asyncio.ensure_future(stub.Put(kv_pb2.PutRequest(key=b"k")))
        await entered.wait()

        api.server.drain()
        _, error = await raw_error(stub.Put(kv_pb2.PutRequest(key=b"k")))
        assert type(error) is replicator.ShuttingDown
        stopping = asyncio.create_task(api.server.stop(30.0))
        go_on.set()
        assert (await in_flight).revision == 1
        await stopping


async def test_health_says_not_serving_until_told_and_again_while_stopping(api: ApiNode) -> None:
    async with grpc.aio.insecure_channel(api.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)

        async def health(service: str) -> str:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

        assert (await health(""), await health("replicator.v1.KVService")) == ("SERVING", "NOT_SERVING")
        await api.server.health.set_serving(True)
        assert await health("replicator.v1.KVService") == "SERVING"
        await api.server.health.shut_down()
        assert (await health(""), await health("replicator.v1.KVService")) == ("NOT_SERVING", "NOT_SERVING")


async def test_reflection_lists_our_services(api: ApiNode) -> None:
    async with grpc.aio.insecure_channel(api.address) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        answers = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        names = {service.name async for answer in answers for service in answer.list_services_response.service}

    assert {"replicator.v1.KVService", "replicator.v1.ClusterService", "grpc.health.v1.Health"} <= names


async def test_a_port_in_use_is_one_line_that_names_the_field(api: ApiNode) -> None:
    second = an_api_server(api.node, listen=api.address)

    with pytest.raises(StartupError, match=rf"^listen\.api: cannot bind {api.address}: .* in use"):
        await second.start()


async def test_port_zero_binds_a_free_port() -> None:
    server = an_api_server(MemoryCluster().add("n1", "eu"))
    await server.start()
    try:
        async with replicator.connect([f"127.0.0.1:{server.bound_port}"]) as client:
            assert (await client.put(b"k", b"v")).revision == 1
    finally:
        await server.stop(0.0)


async def test_mutual_tls_lets_in_who_shows_a_certificate_and_nobody_else(tmp_path: Path) -> None:
    authority = Authority()
    files = tls_files(tmp_path / "n1", authority.pem, authority.node("n1"))
    known = client_tls(tmp_path / "app", authority.pem, authority.client("app"))
    server = an_api_server(MemoryCluster().add("n1", "eu"), tls=opened(files, "n1"))
    await server.start()
    address = f"127.0.0.1:{server.bound_port}"
    try:
        async with replicator.connect([address], tls=known) as client:
            assert (await client.put(b"k", b"v")).revision == 1
        for without in (replicator.ClientTls(known.ca_file), None):
            async with replicator.connect([address], tls=without) as client:
                with pytest.raises(replicator.ReplicatorError):
                    await client.put(b"k", b"v", timeout_s=SHORT_S)
    finally:
        await server.stop(0.0)


def test_every_reason_finds_its_way_back_and_an_unknown_one_promises_nothing() -> None:
    assert all(type(error_from_reason(reason, "m")) is kind for reason, kind in ERROR_OF_REASON.items())
    assert error_from_reason("OF_A_NEWER_RELEASE", "m").applied == "unknown"
