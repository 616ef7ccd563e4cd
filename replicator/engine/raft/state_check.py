"""Do all nodes make the same state of the same log? A follower says what it has made; the leader compares.

Raft keeps logs alike; that machines evaluate them alike is assumed by it. A bug, another release or a flipped bit can
break that in silence. The rolling hash covers all that was applied, so one comparison covers the whole history.
"""

import logging
from typing import Final

from replicator.engine.core import ReplicaCore
from replicator.engine.stock.journal import LogReader
from replicator.model.ids import GROUP_LABEL, LogIndex, NodeId
from replicator.model.observe import Observer, Signal
from replicator.v1 import raft_pb2

_LOG = logging.getLogger(__name__)

REPORT_EVERY_S: Final = 1.0  # a follower's answers to appends carry its hash that often at most
TELL_EVERY_S: Final = 60.0  # a line in the log of the leader, for each member


class StateCheck:
    """Both sides of one replica. A difference is told until that member's hash agrees again, or leaves the group."""

    def __init__(self, core: ReplicaCore, log: LogReader, observer: Observer) -> None:
        self._core, self._log, self._observer = core, log, observer
        self._reported_s = float("-inf")
        self._different: dict[NodeId, LogIndex] = {}  # where each was first seen to differ
        self._told_s: dict[NodeId, float] = {}

    def report(self, reply: raft_pb2.AppendReply) -> None:
        """Follower side: adds what this node has applied, and its hash, once in a while."""
        now_s, index = self._core.clock.monotonic_s(), self._core.journal.applied_index
        if now_s - self._reported_s < REPORT_EVERY_S:
            return
        rolling_hash = self._log.digest_at(index)
        if rolling_hash is not None:
            reply.applied_index, reply.rolling_hash, self._reported_s = index, rolling_hash, now_s

    def heard(self, peer: NodeId, reply: raft_pb2.AppendReply) -> None:
        """Leader side: compares, if this node still holds, or holds by now, the hash of that index."""
        if not reply.rolling_hash:
            return
        index = LogIndex(reply.applied_index)
        own = self._log.digest_at(index)
        if own is None:
            return
        if own == reply.rolling_hash:
            self._different.pop(peer, None)
            return
        self._different.setdefault(peer, index)
        self._observer.count(Signal.STATE_DIFFERENCES, node=peer, group=GROUP_LABEL)
        now_s = self._core.clock.monotonic_s()
        if now_s - self._told_s.get(peer, float("-inf")) >= TELL_EVERY_S:
            self._told_s[peer] = now_s
            _LOG.error(
                "peer=%s has made another state of the same log: rolling hash %s after index=%d, here it is %s. "
                "docs/operating.md, a node whose state differs", peer, reply.rolling_hash.hex(), index, own.hex(),
            )  # fmt: skip

    def problem(self) -> str:
        """Which members differ, and from where on it is known; empty if none does, or this node does not lead."""
        if not self._core.graft.is_leader:
            return ""
        others = self._core.group.others
        return ", ".join(f"{peer} at index {self._different[peer]}" for peer in others if peer in self._different)
