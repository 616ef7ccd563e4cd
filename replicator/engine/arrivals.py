"""Takes what arrives for a replica: links that come and go, and frames, each on the link that is up or not at all."""

from replicator.engine.core import ReplicaCore
from replicator.engine.dispatch import Dispatch
from replicator.engine.events import BadLink, Event, Frame, LinkDown, LinkUp, RefusedBy
from replicator.engine.leading.forwards import Forwards
from replicator.engine.leading.member_changes import MemberChanges
from replicator.engine.raft.majority import Majority
from replicator.engine.raft.message_bounds import LostData, Malformed
from replicator.engine.raft.messages import decode
from replicator.model.ids import NodeId
from replicator.model.observe import Observer, Signal


class Arrivals:
    """Of one replica. Links that brought what they should not are dropped, and kept until `take_dropped`."""

    def __init__(
        self,
        core: ReplicaCore,
        dispatch: Dispatch,
        *,
        members: MemberChanges,
        forwards: Forwards,
        majority: Majority,
        observer: Observer,
    ) -> None:
        self._core, self._dispatch, self._members = core, dispatch, members
        self._forwards, self._majority, self._observer = forwards, majority, observer
        self._bad_links: list[BadLink] = []
        self._lost_data: list[BadLink] = []

    def take(self, event: Event) -> None:
        """One event, in order of arrival. Raises what ends the node: HistoryReplaced, OtherGroupsLog."""
        core = self._core
        match event:
            case LinkUp(peer, epoch, directory_id):
                if core.links.epoch(peer) is not None:
                    self._drop_link(peer)  # superseded: what was asked on the old link will not be answered
                core.links.up(peer, epoch)
                self._members.linked(peer, directory_id)
                core.graft.link_up(peer)
                core.pump.link_up(peer)
                self._majority.link_up(peer)
            case RefusedBy(peer, founder):
                core.group.note_refusal(peer, founder)
                if core.graft.role != "follower" and not core.group.is_voter:
                    core.graft.step_down()
            case LinkDown(peer, epoch):
                if core.links.epoch(peer) == epoch:
                    self._drop_link(peer)
            case Frame():
                self._take_frame(event)

    def take_dropped(self) -> tuple[tuple[BadLink, ...], tuple[BadLink, ...]]:
        """Links dropped since the last take: that brought what no correct peer sends; with peers that lost data."""
        bad, lost = tuple(self._bad_links), tuple(self._lost_data)
        self._bad_links, self._lost_data = [], []
        return bad, lost

    def _take_frame(self, frame: Frame) -> None:
        peer, epoch, payload = frame
        if self._core.links.epoch(peer) != epoch:
            self._observer.count(Signal.FRAMES_DROPPED, cause="superseded")  # fault 12
            return
        self._core.group.heard_from(peer)
        try:
            self._dispatch(peer, decode(payload))
        except Malformed as problem:
            self._observer.count(Signal.FRAMES_DROPPED, cause="malformed")
            self._bad_links.append(BadLink(peer, epoch, str(problem)))
            self._drop_link(peer)
        except LostData as problem:
            self._lost_data.append(BadLink(peer, epoch, str(problem)))
            self._drop_link(peer)

    def _drop_link(self, peer: NodeId) -> None:
        core = self._core
        core.links.down(peer)
        core.graft.link_down(peer)
        core.pump.link_down(peer)
        self._majority.link_down(peer)
        self._members.unlinked(peer)
        self._forwards.link_down(peer)
