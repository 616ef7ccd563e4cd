"""Becoming a member: asks the group through its API, like any client, and follows the way to being a full member.

Goes on until it is done or the node stops. Every step is idempotent, so a node that is stopped in the middle begins
again where it was.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from replicator.client import Client, ClientTls, connect
from replicator.client.endpoints import ENDPOINTS_MAX
from replicator.config.schema import NodeConfig
from replicator.core.backoff import Backoff
from replicator.model.errors import InvalidArgument, ReplicatorError
from replicator.model.ids import LogIndex, NodeId
from replicator.model.members import Member, MemberRole, Membership
from replicator.model.values import MembershipResult
from replicator.node.join_plan import (
    JoinOptions,
    JoinPlan,
    contacts,
    difference,
    left_over,
    membership_told,
    own_row,
    plan_join,
)

_log = logging.getLogger(__name__)

ASK_TIMEOUT_S: Final = 10.0  # of one call, attempts at all contacts included
AGAIN_S_MIN: Final = 0.1
AGAIN_S_MAX: Final = 5.0
LOOK_EVERY_S: Final = 0.1
SILENCE_S: Final = 15.0  # taken in, but nothing has arrived: the operator should know which address to look at
NO_GROUP_S: Final = 5.0  # an election is over by then
_NO_GROUP: Final = (
    "for %g s no node has answered for a group that can take this one in; if all nodes were first started with --join, "
    "no group exists yet: start those that are to found it without --join"
)


@dataclass(frozen=True, slots=True)
class Place:
    """What this node knows of itself, and whom it tells what it was told.

    directory_id: of its data directory. membership, is_caught_up: asked again and again. guide: hears where all members
    are: a snapshot may come from one that is no contact.
    """

    directory_id: bytes
    membership: Callable[[], Membership]
    is_caught_up: Callable[[], bool]
    guide: Callable[[Membership], None]


class Joiner:
    """One run. options: None if the node was not told to join."""

    def __init__(self, config: NodeConfig, place: Place, options: JoinOptions | None, dice: random.Random) -> None:
        self._config = config
        self._place = place
        self._me = own_row(config, place.directory_id)
        self._dice = dice
        self._options = options

    async def run(self) -> None:
        """Returns once there is nothing to do any more. A bug in here is logged, and leaves the node as it is."""
        known = self._place.membership()
        differs = difference(self._config, known)
        if differs is not None:
            _log.info("%s", differs)
        plan = plan_join(self._me, known, self._options)
        for note in plan.notes:
            _log.warning("%s", note)
        if plan.is_empty:
            return
        try:
            await self._carry_out(plan, known)
        except Exception:
            _log.exception("joining failed: a bug; restart this node with the same flags, and please report this")

    async def _carry_out(self, plan: JoinPlan, known: Membership) -> None:
        addresses = contacts(self._config, known)[:ENDPOINTS_MAX]
        async with connect(addresses, tls=self._tls(), timeout_s=ASK_TIMEOUT_S) as client:
            accepted_index = known.index
            if plan.ask is not None:
                if not plan.watch:
                    await self._until_linked()
                accepted_index = await self._ask(client, plan.ask)
            if not plan.watch:
                return
            is_member = await self._watch(accepted_index)
            if is_member and plan.replace is not None:
                await self._remove(client, plan.replace)
            elif is_member:
                for note in left_over(self._place.membership(), self._options):
                    _log.warning("%s", note)

    async def _until_linked(self) -> None:
        """A full member tells its new place only once the others link it: a copy of it must not move its address."""
        while not self._place.is_caught_up():  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(LOOK_EVERY_S)

    async def _ask(self, client: Client, wanted: Member) -> LogIndex:
        """The log index of the membership that has this node in it."""
        role = "observer" if wanted.role is MemberRole.OBSERVER else "voter"
        _log.info(
            "asking the group to add node=%s as %s, peer=%s api=%s",
            wanted.node_id, role, wanted.peer_address, wanted.api_address,
        )  # fmt: skip

        async def ask() -> MembershipResult:
            return await client.set_member(
                wanted.node_id,
                region=wanted.region,
                peer_address=wanted.peer_address,
                api_address=wanted.api_address,
                role="observer" if wanted.role is MemberRole.OBSERVER else "voter",
                directory_id=wanted.directory_id,
            )

        result = await self._until_done("the group does not take this node in", ask)
        self._place.guide(membership_told(result))
        mine = next(member for member in result.members if member.node_id == wanted.node_id)
        _log.info("the group knows this node as %s, membership of index %d", mine.role, result.index)
        return LogIndex(result.index)

    async def _watch(self, accepted_index: LogIndex) -> bool:
        """True once this node is a full member; False if it was removed meanwhile.

        Memberships older than the one that took it in do not count: a node that is new under an old name meets them
        while it catches up.
        """
        began_s = time.monotonic()
        told: set[str] = set()
        while True:
            known = self._place.membership()
            mine = known.get(self._me.node_id) if known.index >= accepted_index else None
            if mine is not None:
                self._tell(told, f"member as {mine.role.value}, catching up")
                if self._place.is_caught_up() and mine.role is not MemberRole.JOINING:
                    self._tell(told, f"caught up; full member as {mine.role.value}")
                    return True
                if self._place.is_caught_up():
                    self._tell(told, "caught up; the leader will let this node vote")
            elif known.members and known.index > accepted_index:
                _log.warning("removed by membership of index %d while joining; stop this node", known.index)
                return False
            elif not known.members and time.monotonic() - began_s > SILENCE_S:
                self._tell(
                    told,
                    f"taken in, and nothing has arrived for {SILENCE_S:g} s: either much is on its way, or the others "
                    f"do not reach {self._me.peer_address}",
                )
            await asyncio.sleep(LOOK_EVERY_S)

    async def _remove(self, client: Client, replaced: NodeId) -> None:
        async def remove() -> MembershipResult:
            return await client.remove_member(replaced)

        _log.info("asking the group to remove node=%s, which this node replaces", replaced)
        try:
            result = await self._until_done(f"the group does not remove {replaced}", remove, final=InvalidArgument)
        except InvalidArgument as error:
            _log.warning("%s was not removed: %s", replaced, error.message)
            return
        _log.info("node=%s is no longer a member, membership of index %d", replaced, result.index)

    async def _until_done(
        self,
        what_fails: str,
        call: Callable[[], Awaitable[MembershipResult]],
        final: type[ReplicatorError] | None = None,
    ) -> MembershipResult:
        """Calls until it succeeds, or meets an error of the class `final`, which it raises. Logs each reason once."""
        backoff = Backoff(self._dice, min_s=AGAIN_S_MIN, max_s=AGAIN_S_MAX)
        told: set[str] = set()
        began_s = time.monotonic()
        while True:
            try:
                return await call()
            except ReplicatorError as error:
                if final is not None and isinstance(error, final):
                    raise
                if error.reason not in told:
                    _log.warning("%s: %s: %s; asking again", what_fails, error.reason, error.message)
                told.add(error.reason)
            if time.monotonic() - began_s > NO_GROUP_S and _NO_GROUP not in told:
                _log.warning(_NO_GROUP, NO_GROUP_S)
                told.add(_NO_GROUP)
            await asyncio.sleep(backoff.next_s())

    def _tell(self, told: set[str], line: str) -> None:
        if line not in told:
            _log.info("joining node=%s: %s", self._me.node_id, line)
        told.add(line)

    def _tls(self) -> ClientTls | None:
        tls = self._config.tls
        return None if tls is None else ClientTls(tls.ca_file, tls.cert_file, tls.key_file)
