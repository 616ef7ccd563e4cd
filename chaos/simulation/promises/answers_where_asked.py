"""What a peer asked on one link is answered on that link or not at all: request ids start anew with a process."""

from chaos.simulation.node import SimNode
from chaos.simulation.promises.records import Promise, Records
from chaos.simulation.promises.violation import broken
from replicator.engine.events import Frame, Outgoing
from replicator.model.ids import NodeId
from replicator.v1 import raft_pb2


class AnswersWhereAsked(Promise):
    """Remembers on which link each question was asked last."""

    listens = frozenset({"forward", "read_index"})
    watches = frozenset({"forward_reply", "read_index_reply"})

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self._asked: dict[tuple[NodeId, NodeId, str, int], int] = {}  # (asked, asker, kind, request) -> epoch

    def heard(self, node: SimNode, frame: Frame, message: raft_pb2.RaftMessage) -> None:
        match message.WhichOneof("body"):
            case "forward":
                self._asked[node.node_id, frame.peer, "write", message.forward.request_id] = frame.epoch
            case "read_index":
                self._asked[node.node_id, frame.peer, "read", message.read_index.request_id] = frame.epoch

    def said(self, node: SimNode, frame: Outgoing, message: raft_pb2.RaftMessage) -> None:
        match message.WhichOneof("body"):
            case "forward_reply":
                self._answer(node, frame, "write", message.forward_reply.request_id)
            case "read_index_reply":
                self._answer(node, frame, "read", message.read_index_reply.request_id)

    def _answer(self, node: SimNode, frame: Outgoing, kind: str, request_id: int) -> None:
        epoch = self._asked.get((node.node_id, frame.peer, kind, request_id), frame.epoch)
        if epoch != frame.epoch:
            raise broken(node, f"answers {kind} {request_id} of {frame.peer} on link {frame.epoch}; it came on {epoch}")
