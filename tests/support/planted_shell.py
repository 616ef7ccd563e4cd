"""Bugs to be found, of the asyncio shell: the turn loop, readers that wait, the front door. See planted_bugs.py."""

from contextlib import AbstractContextManager

from replicator.engine.calling.waits import AppliedWaits
from replicator.engine.driver import RaftEngine
from replicator.engine.events import Frame
from replicator.engine.leading.request_table import READ_INDEX
from replicator.engine.turns import Turns
from replicator.model.ids import LogIndex
from replicator.storage.failures import DiskFull
from tests.support.planted_bugs import replaced


def sends_all_frames_before_it_commits() -> AbstractContextManager[None]:
    """The loop lets a turn's late frames go, too, before the turn is durable."""
    original = Turns._perform

    async def at_once(self: Turns, turn) -> bool:  # type: ignore[no-untyped-def]
        self._send(turn.frames)
        return await original(self, turn)

    return replaced(Turns, "_perform", at_once)


def takes_a_full_disk_for_a_commit() -> AbstractContextManager[None]:
    """A turn that found no room counts as durable, and is never written again."""
    original = Turns._commit_with_heartbeats

    async def done(self: Turns, write):  # type: ignore[no-untyped-def]
        try:
            return await original(self, write)
        except DiskFull:
            return []

    return replaced(Turns, "_commit_with_heartbeats", done)


def forgets_links_while_the_disk_is_full() -> AbstractContextManager[None]:
    """What waits for a turn is thrown away whole: no turn hears of a link that has come or gone."""
    original = Turns._take_frames

    def all_of_it(self: Turns) -> list[Frame]:
        frames = original(self)
        self._inbox = []
        return frames

    return replaced(Turns, "_take_frames", all_of_it)


def tells_readers_of_the_next_entry() -> AbstractContextManager[None]:
    """A reader goes on one entry too early."""
    original = AppliedWaits.applied
    return replaced(AppliedWaits, "applied", lambda self, index: original(self, LogIndex(index + 1)))


def lets_readers_go_on() -> AbstractContextManager[None]:
    """Nobody waits until this node holds what a token says."""

    async def at_once(_self: AppliedWaits, _index: LogIndex, *, timeout_s: float) -> None:
        """Returns."""

    return replaced(AppliedWaits, "wait", at_once)


# The engine's front door --------------------------------------------------------------------------------------------


def stops_without_storing_the_rest() -> AbstractContextManager[None]:
    """What is applied in memory, and waits for a later turn's commit, is left to the log when a node stops."""

    async def nothing(_self: Turns) -> None:
        """Returns."""

    return replaced(Turns, "_store_the_rest", nothing)


def leaves_its_callers_waiting() -> AbstractContextManager[None]:
    """An engine that has stopped tells nobody."""
    return replaced(RaftEngine, "_fail_callers", lambda _self, _why: None)


def stops_in_the_middle_of_a_turn() -> AbstractContextManager[None]:
    """The disk is closed under a commit."""

    async def at_once(self: RaftEngine) -> None:
        self._refusing = True
        await self._snapshots.stop()
        self._turns.stop()
        self._fail_callers("this node stops")

    return replaced(RaftEngine, "stop", at_once)


def dates_a_read_by_its_answer() -> AbstractContextManager[None]:
    """A read index covers what was committed when it was asked for; here, when the answer came."""

    async def late(self: RaftEngine, *, timeout_s: float) -> LogIndex:
        index = await self._calls.ask(READ_INDEX, None, timeout_s=timeout_s, check=self._check_running)
        self._replica.freshness.covers(index, self._clock.monotonic_s())
        return index

    return replaced(RaftEngine, "read_index", late)
