"""The known nodes, and the order in which to ask them. Plain values in, an order out; no sockets, no clock.

Endpoints that the caller gave stay for good and are preferred over discovered addresses of the same node: they are
known to be reachable from here (a proxy, a port forward), advertised ones only may be.

Who belongs to the group is what the newest membership says that any node has told of. A node that lags, or was removed
and has not heard of it, names members that are none any more; its word counts as long as nobody's is newer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from replicator.model.values import MemberStatus, NodeStatus

ENDPOINTS_MAX: Final = 64
_LATENCY_WEIGHT: Final = 0.3  # of the newest measurement


@dataclass(slots=True)
class Endpoint:
    """One address. node_id and region: empty until known. latency_s: smoothed, None until measured."""

    address: str
    is_given: bool
    node_id: str = ""
    region: str = ""
    latency_s: float | None = None
    is_down: bool = False


class Directory:
    """What the client knows of the cluster."""

    def __init__(self, given: Sequence[str], region: str | None) -> None:
        self._region = region
        self._endpoints = {address: Endpoint(address, is_given=True) for address in given}
        self._leader_id = ""
        self._leader_term = -1
        self._membership_index = -1
        self._member_ids: frozenset[str] = frozenset()  # of the newest membership; empty until one is known

    @property
    def addresses(self) -> list[str]:
        return list(self._endpoints)

    def note_status(self, address: str, status: NodeStatus, latency_s: float) -> bool:
        """An endpoint answered. True if it named members that were not known."""
        endpoint = self._endpoints.get(address)
        if endpoint is None:
            return False
        endpoint.node_id, endpoint.region, endpoint.is_down = status.node_id, status.region, False
        endpoint.latency_s = (
            latency_s
            if endpoint.latency_s is None
            else _LATENCY_WEIGHT * latency_s + (1.0 - _LATENCY_WEIGHT) * endpoint.latency_s
        )
        found = self._note_members(status)
        if self._is_member(status.node_id):
            self._note_leader(status)
        return found

    def note_up(self, address: str) -> None:
        if address in self._endpoints:
            self._endpoints[address].is_down = False

    def note_down(self, address: str) -> None:
        """The endpoint did not answer: it is asked last until it does."""
        if address in self._endpoints:
            self._endpoints[address].is_down = True

    def forget_leader(self, address: str) -> None:
        """The node at `address` says or shows that it does not lead."""
        endpoint = self._endpoints.get(address)
        if endpoint is not None and endpoint.node_id == self._leader_id:
            self._leader_id = ""

    def retire(self, answers: Sequence[NodeStatus]) -> list[str]:
        """Forgets discovered addresses that no answer of the newest membership names. Returns them."""
        newest = [status for status in answers if self._is_newest(status)]
        if not newest:
            return []
        named = {member.api_address for status in newest for member in status.members}
        gone = [address for address, e in self._endpoints.items() if not e.is_given and address not in named]
        for address in gone:
            del self._endpoints[address]
        return gone

    def for_reads(self) -> list[str]:
        """Own region first, then by latency; those that do not answer last. Never empty."""
        return self._ordered(leader_first=False)

    def for_writes(self) -> list[str]:
        """The leader first, if known; then as for reads: any node forwards."""
        return self._ordered(leader_first=True)

    def _ordered(self, *, leader_first: bool) -> list[str]:
        def rank(endpoint: Endpoint) -> tuple[bool, bool, bool, float, bool]:
            return (
                endpoint.is_down or not self._is_member(endpoint.node_id),
                leader_first and (not self._leader_id or endpoint.node_id != self._leader_id),
                self._region is not None and endpoint.region != self._region,
                inf if endpoint.latency_s is None else endpoint.latency_s,
                not endpoint.is_given,
            )

        return [endpoint.address for endpoint in sorted(self._usable(), key=rank)]

    def _usable(self) -> list[Endpoint]:
        served = {e.node_id for e in self._endpoints.values() if e.is_given and e.node_id and not e.is_down}
        return [e for e in self._endpoints.values() if e.is_given or e.node_id not in served]

    def _note_leader(self, status: NodeStatus) -> None:
        if status.term > self._leader_term or (status.term == self._leader_term and status.leader_id):
            self._leader_term, self._leader_id = status.term, status.leader_id

    def _note_members(self, status: NodeStatus) -> bool:
        if not status.members or status.membership_index < self._membership_index:
            return False
        self._membership_index = status.membership_index
        self._member_ids = frozenset(member.node_id for member in status.members)
        found = [self._note_member(member) for member in status.members]
        return any(found)

    def _note_member(self, member: MemberStatus) -> bool:
        known = self._endpoints.get(member.api_address)
        found = known is None and len(self._endpoints) < ENDPOINTS_MAX
        if found:
            known = self._endpoints[member.api_address] = Endpoint(member.api_address, is_given=False)
        if known is not None and not (known.node_id and known.is_given):
            known.node_id, known.region = member.node_id, member.region
        return found

    def _is_newest(self, status: NodeStatus) -> bool:
        return bool(status.members) and status.membership_index == self._membership_index

    def _is_member(self, node_id: str) -> bool:
        """True also for a node whose name is not known yet: only who is known to be none is asked last."""
        return not node_id or not self._member_ids or node_id in self._member_ids
