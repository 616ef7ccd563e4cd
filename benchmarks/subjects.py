"""The systems that are measured, each behind the same three calls.

Both stores are driven in the same shape: one grpc.aio channel to the leader, unary calls, no retries, in this process.
So the client's own cost is in all figures, and is the same but for the size of messages. Our SDK is a third subject: it
adds what users get besides (exactly-once names, failover, deadlines), and sends concurrent calls in batches.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self, TypeAlias

import grpc.aio

from benchmarks import etcd_kv
from replicator.client import Client
from replicator.model.values import Consistency
from replicator.v1 import kv_pb2

CALL_TIMEOUT_S: Final = 10.0

_Bytes: TypeAlias = Callable[..., Awaitable[bytes]]


class Subject(Protocol):
    """One way to call one cluster."""

    @property
    def name(self) -> str: ...

    @property
    def server_pids(self) -> tuple[int, ...]: ...

    async def put(self, key: bytes, value: bytes) -> None: ...

    async def get_local(self, key: bytes) -> bytes | None: ...

    async def get_linearizable(self, key: bytes) -> bytes | None: ...


class _BareChannel:
    """One channel, closed with the block."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(
            address, options=(("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    def _raw(self, method: str) -> _Bytes:
        """Bytes in, bytes out; each subject encodes its own messages."""
        call: _Bytes = self._channel.unary_unary(method)
        return call


class BareReplicator(_BareChannel):
    """Our API without our SDK. Puts carry no write id, as etcd's do not: a retry after a lost reply may apply twice."""

    name = "replicator"

    def __init__(self, address: str, server_pids: tuple[int, ...]) -> None:
        super().__init__(address)
        self.server_pids = server_pids
        self._put = self._raw("/replicator.v1.KVService/Put")
        self._get = self._raw("/replicator.v1.KVService/Get")

    async def put(self, key: bytes, value: bytes) -> None:
        request = kv_pb2.PutRequest(key=key, value=value).SerializeToString()
        kv_pb2.PutResponse.FromString(await self._put(request, timeout=CALL_TIMEOUT_S))

    async def get_local(self, key: bytes) -> bytes | None:
        return await self._read(key, kv_pb2.CONSISTENCY_CAUSAL)

    async def get_linearizable(self, key: bytes) -> bytes | None:
        return await self._read(key, kv_pb2.CONSISTENCY_LINEARIZABLE)

    async def _read(self, key: bytes, level: kv_pb2.Consistency.ValueType) -> bytes | None:
        request = kv_pb2.GetRequest(key=key, options=kv_pb2.ReadOptions(consistency=level)).SerializeToString()
        answer = kv_pb2.GetResponse.FromString(await self._get(request, timeout=CALL_TIMEOUT_S))
        return answer.kv.value if answer.HasField("kv") else None


class BareEtcd(_BareChannel):
    """etcd's gRPC API."""

    name = "etcd"

    def __init__(self, address: str, server_pids: tuple[int, ...]) -> None:
        super().__init__(address)
        self.server_pids = server_pids
        self._put = self._raw(etcd_kv.PUT)
        self._range = self._raw(etcd_kv.RANGE)

    async def put(self, key: bytes, value: bytes) -> None:
        await self._put(etcd_kv.put_request(key, value), timeout=CALL_TIMEOUT_S)

    async def get_local(self, key: bytes) -> bytes | None:
        return await self._read(etcd_kv.range_request(key, serializable=True))

    async def get_linearizable(self, key: bytes) -> bytes | None:
        return await self._read(etcd_kv.range_request(key, serializable=False))

    async def _read(self, request: bytes) -> bytes | None:
        return etcd_kv.first_value(await self._range(request, timeout=CALL_TIMEOUT_S))


@dataclass(frozen=True, slots=True)
class SdkReplicator:
    """Our SDK, as users call it."""

    client: Client
    server_pids: tuple[int, ...]
    name: str = "replicator SDK"

    async def put(self, key: bytes, value: bytes) -> None:
        await self.client.put(key, value, timeout_s=CALL_TIMEOUT_S)

    async def get_local(self, key: bytes) -> bytes | None:
        return (await self.client.get(key, timeout_s=CALL_TIMEOUT_S)).value

    async def get_linearizable(self, key: bytes) -> bytes | None:
        read = self.client.get(key, consistency=Consistency.LINEARIZABLE, timeout_s=CALL_TIMEOUT_S)
        return (await read).value


async def check_round_trip(subject: Subject) -> None:
    """A subject that does not really store would be very fast."""
    key, value = b"benchmark-check", b"\x00stored\xff"
    await subject.put(key, value)
    for read in (subject.get_linearizable, subject.get_local):
        found = await read(key)
        if found != value:
            raise RuntimeError(f"{subject.name}: wrote {value!r} and read {found!r}; its figures would mean nothing")
