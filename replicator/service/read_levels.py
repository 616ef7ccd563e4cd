"""Makes the local replica new enough for what a read asks. The only place that knows what a consistency level means.

LINEARIZABLE  read index, then wait until it is applied here
CAUSAL        wait until the token is applied here; a token beyond the end of the log is refused, not waited for
BOUNDED       wait until provably no staler than asked (and until the token, if one is given, is applied)
LOCAL         now; a token is checked for shape only, since the level asks for "any age" in so many words

A replica that has not applied who founded its group serves none of them: its emptiness is no state of the group, which
begins with that entry. Such a node is new, or has lost its disk, and others may hold what it has never seen. Nor could
it tell a token of its group from another one's.

The promise is about the moment at which `ready` returns; whatever the caller reads afterwards is at least that new.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from replicator.model.causal_token import CausalToken, TokenScope, token_scope
from replicator.model.clock import Clock
from replicator.model.deadline import Deadline
from replicator.model.errors import DeadlineExceeded, ReplicaBehind, ShuttingDown, TokenAhead, Unavailable
from replicator.model.ids import LogIndex
from replicator.model.values import Consistency
from replicator.service.ports import EnginePort
from replicator.service.read_points import ReadPoints
from replicator.service.validate import refuse

# While no leader answers, a token beyond the known commit index is asked about again at this pace.
CONFIRM_RETRY_S: Final = 0.1
# Long enough that a client asks another node first.
EMPTY_RETRY_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """token: empty for none. max_staleness_ms: for BOUNDED, and only there, greater than 0."""

    consistency: Consistency = Consistency.CAUSAL
    token: str = ""
    max_staleness_ms: int = 0


class ReadLevels:
    """Stateless besides its ports and the questions under way."""

    def __init__(self, engine: EnginePort, clock: Clock) -> None:
        self._engine = engine
        self._read_points = ReadPoints(engine, clock)

    async def ready(self, options: ReadOptions, deadline: Deadline) -> None:
        """Returns once a local read keeps the promise. Raises InvalidToken, TokenAhead, ReplicaBehind, NoLeader."""
        _check_options(options)
        scope = self.scope()
        token = CausalToken.decode(options.token, scope) if options.token else CausalToken(LogIndex(0))
        match options.consistency:
            case Consistency.LOCAL:
                return
            case Consistency.LINEARIZABLE:
                await self._linearizable(token, deadline)
            case Consistency.BOUNDED:
                await self.reach(token, deadline)
                await self._fresh(options.max_staleness_ms, deadline)
            case Consistency.CAUSAL:
                await self.reach(token, deadline)

    def scope(self) -> TokenScope:
        """Whose tokens count here. Raises ReplicaBehind at a replica that does not know its group yet."""
        founder = self._engine.founder
        if not founder:
            raise ReplicaBehind(
                "this node holds no data: it is new or has lost its disk, and knows nothing of its group so far; "
                "read elsewhere, or later",
                retry_after_s=EMPTY_RETRY_S,
                metadata={"applied_index": str(self._engine.applied_index)},
            )
        return token_scope(founder)

    async def reach(self, token: CausalToken, deadline: Deadline) -> None:
        """Waits until the local store holds the token's point."""
        if token.index <= self._engine.applied_index:
            return
        if token.index <= self._engine.known_commit_index:
            await self._engine.wait_applied(token.index, timeout_s=deadline.left_s())
            return
        await self._reach_beyond_known(token, deadline)

    async def _reach_beyond_known(self, token: CausalToken, deadline: Deadline) -> None:
        """The token is newer than all this node knows of: either the node is behind, or the token is not of this log.

        The leader can tell; meanwhile the point may simply arrive. Whichever comes first decides.
        """
        applied = asyncio.ensure_future(self._engine.wait_applied(token.index, timeout_s=deadline.left_s()))
        confirmed = asyncio.ensure_future(self._confirm(token, deadline))
        try:
            await asyncio.wait({applied, confirmed}, return_when=asyncio.FIRST_COMPLETED)
            if not applied.done():
                await confirmed
            await applied
        finally:
            for task in (applied, confirmed):
                task.cancel()
            await asyncio.gather(applied, confirmed, return_exceptions=True)

    async def _confirm(self, token: CausalToken, deadline: Deadline) -> None:
        """Returns once a leader vouches for the token, or no leader could be asked until the deadline."""
        while (left_s := deadline.left_s()) > 0.0:
            try:
                point = await self._engine.read_index(timeout_s=left_s)
            except ShuttingDown:
                raise
            except (Unavailable, DeadlineExceeded):
                await asyncio.sleep(min(CONFIRM_RETRY_S, deadline.left_s()))
                continue
            _refuse_ahead(token, point)
            return

    async def _linearizable(self, token: CausalToken, deadline: Deadline) -> None:
        point = await self._read_points.next(deadline)
        _refuse_ahead(token, point)
        if point > self._engine.applied_index:
            await self._engine.wait_applied(point, timeout_s=deadline.left_s())

    async def _fresh(self, max_staleness_ms: int, deadline: Deadline) -> None:
        # Asked again after each wait: between the engine's answer and this line, time has passed.
        while not self._is_fresh(max_staleness_ms):
            left_s = deadline.left_s()
            if left_s <= 0.0:
                raise ReplicaBehind(
                    f"the replica could not prove in time to be at most {max_staleness_ms} ms old; allow more "
                    "staleness or time, or read elsewhere",
                    metadata={"max_staleness_ms": str(max_staleness_ms)},
                )
            await self._engine.wait_fresh(max_staleness_ms, timeout_s=left_s)

    def _is_fresh(self, max_staleness_ms: int) -> bool:
        staleness_ms = self._engine.staleness_ms()
        return staleness_ms is not None and staleness_ms <= max_staleness_ms


def _check_options(options: ReadOptions) -> None:
    if options.consistency is Consistency.BOUNDED:
        if options.max_staleness_ms <= 0:
            raise refuse(
                "max_staleness_ms", "must be greater than 0 with BOUNDED; for the latest value use LINEARIZABLE"
            )
    elif options.max_staleness_ms:
        raise refuse("max_staleness_ms", f"is for BOUNDED only, but the level is {options.consistency.name}")


def _refuse_ahead(token: CausalToken, point: LogIndex) -> None:
    if token.index > point:
        raise TokenAhead(
            f"the token names index {token.index}, but the log ends at {point}: it was not issued by this log; drop "
            "the token and read without it",
            metadata={"token_index": str(token.index), "commit_index": str(point)},
        )
