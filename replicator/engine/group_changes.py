"""What an applied change of the group does at this node: who counts, who is sent what, which timers are in force."""

from replicator.engine.core import ReplicaCore
from replicator.engine.leading.member_changes import MemberChanges
from replicator.engine.raft.timers import timing_of_wire
from replicator.machine.codec import is_group_change
from replicator.machine.group_entries import decode_group_change, membership_of
from replicator.model.log import Entry
from replicator.v1 import store_pb2


class GroupChanges:
    """Of one replica."""

    def __init__(self, core: ReplicaCore, members: MemberChanges) -> None:
        self._core, self._members = core, members

    def applied(self, entry: Entry) -> None:
        """Called with each entry that is applied, in order. A node that is no voter any more leads no longer."""
        if not is_group_change(entry.payload):
            return
        change = decode_group_change(entry.payload)
        if change is None:
            return  # rejected, the same on every node
        if change.HasField("timing"):
            self.take_timing(change.timing)
            return
        core = self._core
        change.membership.index = entry.index
        anew = core.group.take(membership_of(change.membership))
        core.graft.set_members(core.group.other_voters, core.group.other_replicas, anew)
        core.pump.members_changed(anew)
        self._members.applied(entry.index)
        if core.graft.is_leader and not core.group.is_voter:  # an earlier leader proposed that
            core.graft.step_down()

    def take_timing(self, agreed: store_pb2.Timing) -> None:
        """A node whose file names its timers keeps to them, whatever others agree on: safety needs no two alike."""
        if self._core.settings.auto_timing:
            self._core.timers.set(timing_of_wire(agreed))
