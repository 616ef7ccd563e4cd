"""A follower acknowledges only what is on its disk and equals its leader's log.

One that has moved on to a later term within the same turn may have given up again what it acknowledged in the earlier
one. That leader can no longer commit it: the leader that replaced it was elected by a majority that lacks it.
A leader's own disk may lack what it has sent (Ongaro 2014, 10.2.1); if it still runs, its memory says what that was.
"""

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise
from chaos.simulation.promises.violation import broken
from replicator.engine.events import Outgoing
from replicator.model.ids import LogIndex
from replicator.v1 import raft_pb2


class HonestAnswers(Promise):
    """Looks at acknowledgements as they leave. Asked of the disk: memory proves nothing."""

    watches = frozenset({"append_reply"})

    def said(self, node: SimNode, frame: Outgoing, message: raft_pb2.RaftMessage) -> None:
        reply = message.append_reply
        if not reply.success or node.disk.state.term > reply.term:
            return
        index, held = reply.next_index - 1, node.disk.term_at(reply.next_index - 1)
        if index > node.disk.last_index:
            raise broken(node, f"acknowledges {index}, but its disk ends at {node.disk.last_index}")
        peer = self.records.node(frame.peer)
        if peer is None:
            return
        leader = peer.disk
        if leader.state.term != reply.term or index < max(leader.first_index, node.disk.first_index):
            return  # that leader has moved on, or nobody can compare any more
        theirs = leader.term_at(index)
        if index > leader.last_index:
            log = peer.replica.journal if peer.replica is not None else None
            if log is None or log.last_index < index:
                return  # it died with it: never counted, and not led on in that term
            theirs = log.entry(LogIndex(index)).term
        if theirs != held:
            raise broken(
                node, f"acknowledges {index} of term {held} to {frame.peer}, which holds {theirs or 'nothing'}"
            )
