"""The client as callers know it: one object, the methods of the API, values back."""

import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Literal, Protocol, Self, TypeAlias, TypeVar

import grpc.aio

from replicator.client import convert
from replicator.client.arguments import check_bytes, check_text, check_timeout, uint32, uint64
from replicator.client.batching import Batching
from replicator.client.belonging import Belonging, check_process
from replicator.client.causality import Causality, current
from replicator.client.channels import Channels, Connection
from replicator.client.discovery import Discovery
from replicator.client.endpoints import ENDPOINTS_MAX, Directory
from replicator.client.failover import Call, Failover
from replicator.client.group_time import GroupTime
from replicator.client.session import Session
from replicator.client.tls import ClientTls
from replicator.client.wire_errors import error_of
from replicator.model.addresses import address_flaw
from replicator.model.deadline import Deadline
from replicator.model.errors import Internal, InvalidArgument
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
    ScanPage,
    prefix_end,
)
from replicator.v1 import cluster_pb2, kv_pb2


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
    Raises RuntimeError in a process that was forked after a client was used.
    """
    check_process()
    addresses = (endpoints,) if isinstance(endpoints, str) else tuple(endpoints or ())
    if not 1 <= len(addresses) <= ENDPOINTS_MAX:
        raise InvalidArgument(
            f"endpoints: {len(addresses)} given, 1 to {ENDPOINTS_MAX} are needed", metadata={"field": "endpoints"}
        )
    for address in addresses:
        _check_address(address)
    addresses = tuple(dict.fromkeys(addresses))
    if region is not None:
        check_text("region", region)
    check_timeout(timeout_s)
    return Client(addresses, region, tls, timeout_s)


class Client:
    """Safe for any number of tasks of one event loop. Every call raises the error family of replicator.model.errors."""

    def __init__(self, endpoints: Sequence[str], region: str | None, tls: ClientTls | None, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._belonging = Belonging()
        self._channels = Channels(tls)
        self._directory = Directory(endpoints, region)
        group_time = GroupTime()
        self._discovery = Discovery(self._directory, self._channels, group_time)
        self._failover = Failover(self._directory, self._channels, self._discovery)
        self._batching = Batching(self._failover, group_time)
        self._is_open = False
        self._is_closed = False

    def session(self, token: str | None = None) -> Session:
        """Reads that see all that the session has read and written, and what `token` covers. Raises InvalidToken.

        Without a token, a session of a context that carries one (replicator.propagation) goes on from there.
        """
        return Session(self, Causality(token) if token is not None else current() or Causality())

    async def put(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> PutResult:
        """Sets the key, whatever it held."""
        check_bytes("key", key)
        check_bytes("value", value)
        ends_s = await self._begin(timeout_s)
        return await self._batching.put(key, value, ends_s)

    async def delete(self, key: bytes, *, timeout_s: float | None = None) -> DeleteResult:
        """Removes the key; `deleted` is False if it did not exist."""
        check_bytes("key", key)
        ends_s = await self._begin(timeout_s)
        return await self._batching.delete(key, ends_s)

    async def compare_and_set(
        self, key: bytes, value: bytes, *, if_revision: int, timeout_s: float | None = None
    ) -> CompareAndSetResult:
        """Sets the key if its mod_revision is `if_revision`; 0: if it does not exist. Losing is a result, no error."""
        check_bytes("key", key)
        check_bytes("value", value)
        expected = uint64("if_revision", if_revision)
        ends_s = await self._begin(timeout_s)
        return await self._batching.compare_and_set(key, value, expected, ends_s)

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
        check_bytes("key", key)
        if token is not None:
            check_text("token", token)  # what else is wrong with the level is found when its lane is made
        ends_s = await self._begin(timeout_s)
        return await self._batching.get(key, consistency, token, max_staleness_ms, ends_s)

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
        async for page in self.scan_pages(
            prefix=prefix,
            start=start,
            end=end,
            token=token,
            consistency=consistency,
            max_staleness_ms=max_staleness_ms,
            page_size=page_size,
            timeout_s=timeout_s,
        ):
            for kv in page.pairs:
                yield kv

    async def scan_pages(
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
    ) -> AsyncIterator[ScanPage]:
        """The same pairs page by page, each with the revision that it shows; at least one page."""
        for field, given in (("prefix", prefix), ("start", start), ("end", end)):
            check_bytes(field, given)
        if prefix and (start or end):
            raise InvalidArgument("scan takes a prefix, or start and end, not both", metadata={"field": "prefix"})
        request = kv_pb2.ScanRequest(
            start=prefix or start,
            end=prefix_end(prefix) if prefix else end,
            page_size=uint32("page_size", page_size),
            options=convert.read_options(consistency, token, max_staleness_ms),
        )
        revision: int | None = None
        while True:
            page = await self._read(request, lambda c, r, t: c.kv.Scan(r, timeout=t), timeout_s)
            if revision not in (None, page.revision):
                raise Internal(f"a page shows revision {page.revision} of a scan of revision {revision}")
            revision = page.revision
            yield convert.scan_page(page)
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
        names = {"node_id": node_id, "region": region, "peer_address": peer_address, "api_address": api_address}
        for field, given in names.items():
            check_text(field, given)
        check_bytes("directory_id", directory_id)
        request = cluster_pb2.SetMemberRequest(
            **names,
            role=convert.given_role(role),
            directory_id=directory_id,
        )
        answer = await self._change(request, lambda c, r, t: c.cluster.SetMember(r, timeout=t), timeout_s)
        return convert.membership_result(answer)

    async def remove_member(self, node_id: str, *, timeout_s: float | None = None) -> MembershipResult:
        """Takes a member out of the group. One that leads hands leadership over first."""
        check_text("node_id", node_id)
        request = cluster_pb2.RemoveMemberRequest(node_id=node_id)
        answer = await self._change(request, lambda c, r, t: c.cluster.RemoveMember(r, timeout=t), timeout_s)
        return convert.membership_result(answer)

    async def transfer_leadership(
        self, to: str | None = None, region: str | None = None, *, timeout_s: float | None = None
    ) -> str:
        """Hands leadership to a node, to a region, or with neither to any voter that has caught up; the new leader."""
        for field, given in (("to", to), ("region", region)):
            if given is not None:
                check_text(field, given)
        request = cluster_pb2.TransferLeadershipRequest(node_id=to or "", region=region or "")
        answer = await self._change(request, lambda c, r, t: c.cluster.TransferLeadership(r, timeout=t), timeout_s)
        return answer.leader_id

    async def close(self) -> None:
        """Ends calls in flight and lets go of all connections. Closing twice is fine."""
        self._is_closed = True
        self._belonging.check()
        self._failover.close()
        await self._batching.close()
        await self._discovery.close()
        await self._channels.close()
        self._belonging.give_up(self)

    async def __aenter__(self) -> Self:
        await self._ensure_open(self._deadline(None))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        if self._is_open and not self._is_closed:
            remedy = "use `async with`, or await its close()"
            warnings.warn(f"unclosed {self!r}: {remedy}", ResourceWarning, source=self, stacklevel=2)

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

    async def _begin(self, timeout_s: float | None) -> float:
        """When a call ends that begins now, on the monotonic clock. Costs little once the client is open."""
        if timeout_s is None:
            timeout_s = self._timeout_s
        else:
            check_timeout(timeout_s)
        ends_s = time.monotonic() + timeout_s
        if self._is_closed or not self._discovery.has_looked or not self._belonging.is_here():
            await self._ensure_open(Deadline(ends_s))
        return ends_s

    async def _ensure_open(self, deadline: Deadline) -> None:
        if self._is_closed:
            raise RuntimeError("the client is closed; connect() gives a new one")
        self._belonging.take(self)
        self._is_open = True
        await self._discovery.start(deadline.left_s())

    def _deadline(self, timeout_s: float | None) -> Deadline:
        if timeout_s is not None:
            check_timeout(timeout_s)
        return Deadline.after(self._timeout_s if timeout_s is None else timeout_s)


def _call(request: Request, send: Send[Request, Answer], *, is_write: bool, to_leader: bool) -> Call[Answer]:
    return Call(
        lambda connection, _left_s, patience_s: send(
            connection, request, patience_s
        ),  # no other call tells of its node
        is_write,
        to_leader,
        request.ByteSize(),
    )


def _check_address(address: str) -> None:
    check_text("endpoints", address)
    flaw = address_flaw(address)
    if flaw is not None:
        raise InvalidArgument(f"endpoint {address!r} {flaw}", metadata={"field": "endpoints"})
