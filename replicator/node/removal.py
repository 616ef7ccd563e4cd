"""Finds out that this node was removed: nobody tells it, since a leader sends nothing to those who are no members.

Its own membership names it for ever, and all that it notices is that no leader is heard of. So as long as that is so,
it asks the members that it knows, through their API like any client, for the membership that they have applied.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from replicator.client import Client, ClientTls, connect
from replicator.client.directory import ENDPOINTS_MAX
from replicator.config.schema import NodeConfig
from replicator.model.errors import ReplicatorError
from replicator.model.ids import LogIndex
from replicator.model.members import Membership
from replicator.model.status import EngineStatus
from replicator.model.values import NodeStatus
from replicator.node.join_plan import contacts

_log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 2.0
ASK_TIMEOUT_S: Final = 2.0


class RemovalWatch:
    """`run` is the task; `index` is what it has found."""

    def __init__(self, config: NodeConfig, status: Callable[[], EngineStatus]) -> None:
        self._config = config
        self._status = status
        self._index: LogIndex | None = None

    @property
    def index(self) -> LogIndex | None:
        """Of the membership that does not name this node any more; None as far as is known."""
        return self._index

    async def run(self) -> None:
        """Until it is cancelled. A bug in here is logged, and leaves the node as it is."""
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                await self._look()
        except Exception:
            _log.exception("whether this node was removed is not asked any more: a bug; please report this")

    async def _look(self) -> None:
        status, me = self._status(), self._config.node.id
        if status.leader_id or status.membership.get(me) is None:
            self._index = None
            return
        found = removal_in(await self._ask(status.membership), self._config.cluster.id, me, status.membership)
        if found is not None and self._index is None:
            _log.warning(
                "%s is not a member any more (membership of index %d), and hears nothing: stop this node", me, found
            )
        self._index = found or self._index

    async def _ask(self, known: Membership) -> list[NodeStatus]:
        """Of all who answer in time."""
        addresses = contacts(self._config, known)[:ENDPOINTS_MAX]
        tls = self._config.tls
        client_tls = None if tls is None else ClientTls(tls.ca_file, tls.cert_file, tls.key_file)
        async with connect(addresses, tls=client_tls, timeout_s=ASK_TIMEOUT_S) as client:
            answers = await asyncio.gather(*(_status_of(client, address) for address in addresses))
        return [answer for answer in answers if answer is not None]


def removal_in(told: Iterable[NodeStatus], cluster_id: str, node_id: str, known: Membership) -> LogIndex | None:
    """Index of the newest membership told, if it is newer than the one known here and does not name this node.

    What a member has applied is committed, so one answer is enough.
    """
    newest = max(
        (status for status in told if status.cluster_id == cluster_id),
        key=lambda status: status.membership_index,
        default=None,
    )
    if newest is None or newest.membership_index <= known.index:
        return None
    is_named = any(member.node_id == node_id for member in newest.members)
    return None if is_named else LogIndex(newest.membership_index)


async def _status_of(client: Client, address: str) -> NodeStatus | None:
    try:
        return await client.status(address, timeout_s=ASK_TIMEOUT_S)
    except ReplicatorError:
        return None
