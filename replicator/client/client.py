"""The client as callers know it: one object, the methods of the API, values back."""

import math
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Final, Literal, Protocol, Self, TypeAlias, TypeVar

import grpc.aio

from replicator.client import convert
from replicator.client.channels import Channels, Connection
from replicator.client.discovery import Discovery
from replicator.client.endpoints import ENDPOINTS_MAX, Directory
from replicator.client.failover import Call, Failover
from replicator.client.tls import ClientTls
from replicator.client.wire_errors import error_of
from replicator.client.write_window import WriteWindow
from replicator.model.addresses import ADDRESS_FORM, is_valid_address
from replicator.model.deadline import Deadline
from replicator.model.errors import InvalidArgument, SessionExpired
from replicator.model.limits import CALL_TIMEOUT_S_DEFAULT
from replicator.model.values import (
    CompareAndSetResult,
    Consistency,
    DeleteResult,
    GetResult,
    KeyValue,
    MembershipResult,
    MemberStatus,
    NodeStatus,
    PutResult,
)
from replicator.v1 import cluster_pb2, kv_pb2

# A fresh client id is refused only if its first writes were all given up before one arrived. Seen once, not for ever.
CLIENT_IDS_PER_WRITE_MAX: Final = 3


class _Sized(Protocol):
    def ByteSize(self) -> int: ...  # noqa: N802  # protobuf's name


Request = TypeVar("Request", bound=_Sized)
Answer = TypeVar("Answer")
GivenRole: TypeAlias = Literal["voter", "observer"]
Send: TypeAlias = Callable[[Connection, Request, float], Awaitable[Answer]]


def connect(
    endpoints: Sequence[str],
    region: str | None = None,
    *,
    tls: ClientTls | None = None,
    timeout_s: float = CALL_TIMEOUT_S_DEFAULT,
) -> "Client":
    """A client of the cluster that any of `endpoints` (HOST:PORT) belongs to; use it in `async with`, or close it.

    region: reads go to nodes of this region first. timeout_s: deadline of each call that does not bring its own.
    Raises InvalidArgument. Connects when it is first used, so no node needs to be up yet.
    """
    addresses = (endpoints,) if isinstance(endpoints, str) else tuple(dict.fromkeys(endpoints))
    if not 1 <= len(addresses) <= ENDPOINTS_MAX:
        raise InvalidArgument(
            f"endpoints: {len(addresses)} given, 1 to {ENDPOINTS_MAX} are needed", metadata={"field": "endpoints"}
        )
    for address in addresses:
        _check_address(address)
    _check_timeout(timeout_s)
    return Client(addresses, region, tls, timeout_s)


class Client:
    """Safe for any number of tasks of one event loop. Every call raises the error family of replicator.model.errors."""

    def __init__(self, endpoints: Sequence[str], region: str | None, tls: ClientTls | None, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._channels = Channels(tls)
        self._directory = Directory(endpoints, region)
        self._discovery = Discovery(self._directory, self._channels)
        self._failover = Failover(self._directory, self._channels, self._discovery)
        self._window = WriteWindow()
        self._is_open = False
        self._is_closed = False

    async def put(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> PutResult:
        """Sets the key, whatever it held."""

        def request(write_id: kv_pb2.WriteId) -> kv_pb2.PutRequest:
            return kv_pb2.PutRequest(key=key, value=value, write_id=write_id)

        answer = await self._write(request, lambda c, r, t: c.kv.Put(r, timeout=t), timeout_s)
        return convert.put_result(answer)

    async def delete(self, key: bytes, *, timeout_s: float | None = None) -> DeleteResult:
        """Removes the key; `deleted` is False if it did not exist."""

        def request(write_id: kv_pb2.WriteId) -> kv_pb2.DeleteRequest:
            return kv_pb2.DeleteRequest(key=key, write_id=write_id)

        answer = await self._write(request, lambda c, r, t: c.kv.Delete(r, timeout=t), timeout_s)
        return convert.delete_result(answer)

    async def compare_and_set(
        self, key: bytes, value: bytes, *, if_revision: int, timeout_s: float | None = None
    ) -> CompareAndSetResult:
        """Sets the key if its mod_revision is `if_revision`; 0: if it does not exist. Losing is a result, no error."""
        expected = convert.uint64("if_revision", if_revision)

        def request(write_id: kv_pb2.WriteId) -> kv_pb2.CompareAndSetRequest:
            return kv_pb2.CompareAndSetRequest(key=key, value=value, expected_revision=expected, write_id=write_id)

        answer = await self._write(request, lambda c, r, t: c.kv.CompareAndSet(r, timeout=t), timeout_s)
        return convert.compare_and_set_result(answer)

    async def get(
        self,
        key: bytes,
        *,
        token: str | None = None,
        consistency: Consistency | None = None,
        max_staleness_ms: int | None = None,
        timeout_s: float | None = None,
    ) -> GetResult:
        """Reads one key. Default: CAUSAL, at least as new as `token`. max_staleness_ms: for BOUNDED."""
        options = convert.read_options(consistency, token, max_staleness_ms)
        request = kv_pb2.GetRequest(key=key, options=options)
        answer = await self._read(request, lambda c, r, t: c.kv.Get(r, timeout=t), timeout_s)
        return convert.get_result(key, answer)

    async def scan(
        self,
        *,
        prefix: bytes = b"",
        start: bytes = b"",
        end: bytes = b"",
        token: str | None = None,
        consistency: Consistency | None = None,
        max_staleness_ms: int | None = None,
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> AsyncIterator[KeyValue]:
        """Pairs in key order, all of one revision, with `prefix` or in [start, end) (empty end: no end).

        page_size: pairs fetched at a time, 0 for the node's choice. timeout_s: of each page.
        """
        if prefix and (start or end):
            raise InvalidArgument("scan takes a prefix, or start and end, not both", metadata={"field": "prefix"})
        request = kv_pb2.ScanRequest(
            start=prefix or start,
            end=convert.prefix_end(prefix) if prefix else end,
            page_size=convert.uint32("page_size", page_size),
            options=convert.read_options(consistency, token, max_staleness_ms),
        )
        while True:
            page = await self._read(request, lambda c, r, t: c.kv.Scan(r, timeout=t), timeout_s)
            for kv in page.kvs:
                yield convert.key_value(kv)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def status(
        self, endpoint: str | None = None, *, state_hash: bool = False, timeout_s: float | None = None
    ) -> NodeStatus:
        """What one node knows: the one at `endpoint`, no other; by default whichever a read would go to.

        state_hash: also hash the whole keyed state, which reads every key of that node.
        """
        request = cluster_pb2.StatusRequest(state_hash=state_hash)
        if endpoint is None:
            answer = await self._read(request, lambda c, r, t: c.cluster.Status(r, timeout=t), timeout_s)
            return convert.node_status(answer)
        _check_address(endpoint)
        deadline = self._deadline(timeout_s)
        await self._ensure_open(deadline)
        return convert.node_status(await self._status_at(endpoint, request, deadline))

    async def members(self, *, timeout_s: float | None = None) -> list[MemberStatus]:
        """All members of the group: as the leader sees them, or if none is known, some node."""
        request = cluster_pb2.StatusRequest()
        answer = await self._ask_leader(request, lambda c, r, t: c.cluster.Status(r, timeout=t), timeout_s)
        return list(convert.node_status(answer).members)

    async def set_member(
        self,
        node_id: str,
        *,
        region: str,
        peer_address: str,
        api_address: str,
        role: GivenRole,
        directory_id: bytes = b"",
        timeout_s: float | None = None,
    ) -> MembershipResult:
        """Adds a member, or gives the one of that name this role and these addresses.

        A new voter is `joining` when this returns, and becomes a `voter` by itself once it has caught up.
        directory_id: of its data directory, if known: no other directory may then act under this name.
        """
        request = cluster_pb2.SetMemberRequest(
            node_id=node_id,
            region=region,
            peer_address=peer_address,
            api_address=api_address,
            role=convert.given_role(role),
            directory_id=directory_id,
        )
        answer = await self._change(request, lambda c, r, t: c.cluster.SetMember(r, timeout=t), timeout_s)
        return convert.membership_result(answer)

    async def remove_member(self, node_id: str, *, timeout_s: float | None = None) -> MembershipResult:
        """Takes a member out of the group. One that leads hands leadership over first."""
        request = cluster_pb2.RemoveMemberRequest(node_id=node_id)
        answer = await self._change(request, lambda c, r, t: c.cluster.RemoveMember(r, timeout=t), timeout_s)
        return convert.membership_result(answer)

    async def transfer_leadership(
        self, to: str | None = None, region: str | None = None, *, timeout_s: float | None = None
    ) -> str:
        """Hands leadership to a node, to a region, or with neither to any voter that has caught up; the new leader."""
        request = cluster_pb2.TransferLeadershipRequest(node_id=to or "", region=region or "")
        answer = await self._change(request, lambda c, r, t: c.cluster.TransferLeadership(r, timeout=t), timeout_s)
        return answer.leader_id

    async def close(self) -> None:
        """Ends calls in flight and lets go of all connections. Closing twice is fine."""
        self._is_closed = True
        self._failover.close()
        await self._discovery.close()
        await self._channels.close()

    async def __aenter__(self) -> Self:
        await self._ensure_open(self._deadline(None))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        if self._is_open and not self._is_closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)

    # Calls

    async def _read(self, request: Request, send: Send[Request, Answer], timeout_s: float | None) -> Answer:
        deadline = self._deadline(timeout_s)
        await self._ensure_open(deadline)
        return await self._failover.run(_call(request, send, is_write=False, to_leader=False), deadline)

    async def _ask_leader(self, request: Request, send: Send[Request, Answer], timeout_s: float | None) -> Answer:
        """A read for which the leader's answer says most; without one, any node's will do."""
        deadline = self._deadline(timeout_s)
        await self._ensure_open(deadline)
        return await self._failover.run(_call(request, send, is_write=False, to_leader=True), deadline)

    async def _change(self, request: Request, send: Send[Request, Answer], timeout_s: float | None) -> Answer:
        """A change that has no write id and needs none: a repeated call changes nothing."""
        deadline = self._deadline(timeout_s)
        await self._ensure_open(deadline)
        try:
            return await self._failover.run(_call(request, send, is_write=True, to_leader=True), deadline)
        finally:
            self._discovery.hurry()  # other members, or another leader, whatever came of it

    async def _write(
        self, name: Callable[[kv_pb2.WriteId], Request], send: Send[Request, Answer], timeout_s: float | None
    ) -> Answer:
        """name: the request under a write id. SessionExpired gets through only if no attempt can have happened."""
        deadline = self._deadline(timeout_s)
        await self._ensure_open(deadline)
        for _ in range(CLIENT_IDS_PER_WRITE_MAX - 1):
            window = self._window
            try:
                return await self._write_once(window, name, send, deadline)
            except SessionExpired:
                if self._window is window:  # the first to meet it draws the new id for all
                    self._window = WriteWindow()
        return await self._write_once(self._window, name, send, deadline)

    async def _write_once(
        self,
        window: WriteWindow,
        name: Callable[[kv_pb2.WriteId], Request],
        send: Send[Request, Answer],
        deadline: Deadline,
    ) -> Answer:
        async with window.write_id(deadline) as write_id:
            request = name(write_id)
            return await self._failover.run(_call(request, send, is_write=True, to_leader=True), deadline)

    async def _status_at(
        self, address: str, request: cluster_pb2.StatusRequest, deadline: Deadline
    ) -> cluster_pb2.StatusResponse:
        is_known = address in self._directory.addresses
        connection = self._channels.to(address) if is_known else self._channels.apart(address)
        try:
            await connection.ready(deadline.left_s())
            return await connection.cluster.Status(request, timeout=deadline.left_s())
        except grpc.aio.AioRpcError as error:
            raise error_of(error, address, is_write=False) from error
        finally:
            if not is_known:
                await connection.close()

    async def _ensure_open(self, deadline: Deadline) -> None:
        if self._is_closed:
            raise RuntimeError("the client is closed; connect() gives a new one")
        self._is_open = True
        await self._discovery.start(deadline.left_s())

    def _deadline(self, timeout_s: float | None) -> Deadline:
        if timeout_s is not None:
            _check_timeout(timeout_s)
        return Deadline.after(self._timeout_s if timeout_s is None else timeout_s)


def _call(request: Request, send: Send[Request, Answer], *, is_write: bool, to_leader: bool) -> Call[Answer]:
    return Call(lambda connection, left_s: send(connection, request, left_s), is_write, to_leader, request.ByteSize())


def _check_timeout(timeout_s: float) -> None:
    if not 0.0 < timeout_s < math.inf:
        raise InvalidArgument(
            f"timeout_s is {timeout_s}; a call needs a finite time, greater than 0", metadata={"field": "timeout_s"}
        )


def _check_address(address: str) -> None:
    if not is_valid_address(address):
        raise InvalidArgument(f"endpoint {address!r} must be {ADDRESS_FORM}", metadata={"field": "endpoints"})
