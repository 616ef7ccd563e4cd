"""What a scenario may do to a cluster and ask of it, in whichever world it is played."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from replicator.model.ids import NodeId

# Of a call at one node: done; it may have happened; it did not, and the caller knows.
Ended = Literal["ok", "unknown", "refused"]


@dataclass(frozen=True, slots=True)
class Answers:
    """How a write and a linearizable read ended that one node was asked for, once, by a patient caller."""

    write: Ended
    read: Ended


class Asked(Protocol):
    """A write and a linearizable read under way."""

    async def ends(self) -> Answers:
        """Waits for both."""


@dataclass(frozen=True, slots=True)
class Reign:
    """Who leads, and since which election."""

    node: NodeId
    term: int


class Stage(Protocol):
    """A cluster of three under load from callers of all kinds. Every wait has an end, and says what did not happen.

    names: of its first members. election_s: the longest election timeout.
    """

    names: Sequence[NodeId]
    election_s: float

    # What the callers see ------------------------------------------------------------------------------------------

    async def more_writes(self, count: int = 30) -> None:
        """Returns once so many more are acknowledged, to any caller."""

    async def ask(self, node: NodeId) -> Asked:
        """A write and a linearizable read set out for that node, and for no other."""

    # What an observer sees -----------------------------------------------------------------------------------------

    async def reign(self, *, without: NodeId | None = None) -> Reign:
        """Who says that it leads, of the highest term; waits for one, and for another than `without`."""

    async def gives_up(self, node: NodeId) -> bool:
        """Waits until a node says that it leads no more. Whether it still had a link then."""

    async def lasts(self, seconds: float) -> None:
        """What is the case goes on for so long."""

    # What happens to nodes -----------------------------------------------------------------------------------------

    async def kill(self, *nodes: NodeId) -> None:
        """kill -9."""

    async def start(self, *nodes: NodeId, joining: bool = False) -> None:
        """Those that were killed; with `--join`, or without."""

    async def stop(self, *nodes: NodeId) -> None:
        """SIGSTOP."""

    async def wake(self, *nodes: NodeId) -> None:
        """SIGCONT."""

    async def wipe(self, node: NodeId) -> None:
        """The disk of a dead node is lost."""

    # What happens to links -----------------------------------------------------------------------------------------

    async def cut(self, sender: NodeId, receiver: NodeId) -> None:
        """What one says does not reach the other any more, in silence."""

    async def flap(self, one: NodeId, other: NodeId) -> None:
        """The link of the two breaks, and comes back."""

    async def heal(self) -> None:
        """All links carry again."""

    # What operators do ---------------------------------------------------------------------------------------------

    async def transfer(self, to: NodeId) -> Ended:
        """Asks for leadership to be handed over."""

    async def add(self) -> NodeId:
        """One more node joins; returns once it votes."""

    async def is_refused(self, node: NodeId) -> bool:
        """Waits until the others have refused to link that node. Whether it has still been told nothing."""

    async def votes(self, node: NodeId) -> bool:
        """Waits until that node is a voter, in its own eyes and the leader's."""
