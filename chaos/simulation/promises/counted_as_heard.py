"""A leader counts an entry as held by a peer only if the peer said so, in this term, on a link that was current."""

from collections.abc import Sequence

from chaos.simulation.node import SimNode
from chaos.simulation.promises.links import Links
from chaos.simulation.promises.records import Promise, Records
from chaos.simulation.promises.violation import broken
from replicator.engine.messages import decode
from replicator.engine.replica import Event
from replicator.model.ids import NodeId

ANSWER_BYTES_MAX = 128


class CountedAsHeard(Promise):
    """Compares match indexes with the answers that arrived."""

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self._links = Links()
        self._heard: dict[tuple[NodeId, int, NodeId], int] = {}  # (leader, term, peer) -> highest entry acknowledged

    def took(self, node: SimNode, events: Sequence[Event]) -> None:
        for frame in self._links.current(node, events):
            if len(frame.payload) > ANSWER_BYTES_MAX:
                continue
            message = decode(frame.payload)
            if message.WhichOneof("body") == "append_reply" and message.append_reply.success:
                place = node.node_id, message.append_reply.term, frame.peer
                self._heard[place] = max(self._heard.get(place, 0), message.append_reply.next_index - 1)

    def turned(self, node: SimNode) -> None:
        assert node.replica is not None
        graft = node.replica.graft
        if graft.is_leader:
            for peer in node.settings.peers:
                match, heard = graft.match_index(peer), self._heard.get((node.node_id, graft.term, peer), 0)
                if match > heard:
                    raise broken(node, f"counts on {peer} for {match} in term {graft.term}; it has heard of {heard}")
