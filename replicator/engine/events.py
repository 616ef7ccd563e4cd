"""What goes into a turn and what comes out of it."""

from dataclasses import dataclass
from typing import NamedTuple

from replicator.model.ids import NodeId
from replicator.model.log import TurnWrite


class LinkUp(NamedTuple):
    """A link to `peer` is established; frames of earlier epochs are void. directory_id: of its data directory."""

    peer: NodeId
    epoch: int
    directory_id: bytes = b""


class RefusedBy(NamedTuple):
    """A peer rejects this node's link; founder: of that peer's group."""

    peer: NodeId
    founder: bytes


class LinkDown(NamedTuple):
    """The link of that epoch is gone."""

    peer: NodeId
    epoch: int


class Frame(NamedTuple):
    """One message of a peer."""

    peer: NodeId
    epoch: int
    payload: bytes


Event = LinkUp | LinkDown | RefusedBy | Frame


class Outgoing(NamedTuple):
    """One frame to send, if the link is still of that epoch. for_caller: see FrameSender."""

    peer: NodeId
    epoch: int
    payload: bytes
    for_caller: bool = False


class BadLink(NamedTuple):
    """A link that this turn has dropped, and why."""

    peer: NodeId
    epoch: int
    why: str


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn decided.

    early_frames: leave at once; they claim nothing that `write` makes durable. frames: leave once it is durable.
    must_commit: False if nothing waits for `write`: there is none, or it may go with a later turn's.
    bad_links: links that brought something that no correct peer sends. lost_data: links with peers that no longer hold
    what they acknowledged to this leader; that run of their data must not be linked again.
    """

    write: TurnWrite
    frames: tuple[Outgoing, ...]
    early_frames: tuple[Outgoing, ...] = ()
    must_commit: bool = True
    bad_links: tuple[BadLink, ...] = ()
    lost_data: tuple[BadLink, ...] = ()
