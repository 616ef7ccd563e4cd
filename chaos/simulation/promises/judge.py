"""All promises of one run, and who asks them when."""

from collections.abc import Callable, Sequence
from itertools import chain

from chaos.simulation.node import SimNode
from chaos.simulation.promises.answers_where_asked import AnswersWhereAsked
from chaos.simulation.promises.causal_reads import CausalReads
from chaos.simulation.promises.commit_rule import CommitRule
from chaos.simulation.promises.convergence import Convergence
from chaos.simulation.promises.counted_as_heard import CountedAsHeard
from chaos.simulation.promises.durable_disk import DurableDisk
from chaos.simulation.promises.durable_first import DurableFirst
from chaos.simulation.promises.election_safety import ElectionSafety
from chaos.simulation.promises.exactly_once import ExactlyOnce
from chaos.simulation.promises.frames import kind_of
from chaos.simulation.promises.honest_answers import HonestAnswers
from chaos.simulation.promises.honest_staleness import HonestStaleness
from chaos.simulation.promises.leader_completeness import LeaderCompleteness
from chaos.simulation.promises.linearizable_reads import LinearizableReads
from chaos.simulation.promises.links import Links
from chaos.simulation.promises.log_matching import LogMatching
from chaos.simulation.promises.log_time import LogTime
from chaos.simulation.promises.one_voter_at_a_time import OneVoterAtATime
from chaos.simulation.promises.proposed_in_time import ProposedInTime
from chaos.simulation.promises.records import Promise, Records, Standing, WriteKey
from chaos.simulation.promises.same_state import SameState
from chaos.simulation.promises.state_machine_safety import StateMachineSafety
from chaos.simulation.promises.stopped_whole import StoppedWhole
from chaos.simulation.promises.violation import broken
from chaos.simulation.promises.vote_durability import VoteDurability
from replicator.engine.events import Event, Frame, Outgoing, Turn
from replicator.engine.raft.messages import decode
from replicator.model.errors import DeadlineExceeded, OutcomeUnknown, ReplicatorError, Unavailable
from replicator.model.ids import NodeId
from replicator.model.members import Membership
from replicator.v1 import raft_pb2

Heard = Callable[[SimNode, Frame, raft_pb2.RaftMessage], None]
Said = Callable[[SimNode, Outgoing, raft_pb2.RaftMessage], None]


class Judge:
    """The only thing that the world, its nodes and its clients know of promises."""

    def __init__(self, *, of_guard: bool = True) -> None:
        """of_guard: also what only the guarded engine promises, or only it can be asked."""
        self.records = records = Records()
        self._applied_before: dict[NodeId, int] = {}
        self._links = Links()
        self.exactly_once, self.staleness, self.reads, self.convergence = (
            ExactlyOnce(records), HonestStaleness(records), LinearizableReads(records), Convergence(records),
        )  # fmt: skip
        self.causal, self.proposed = CausalReads(records), ProposedInTime(records)
        promises: list[Promise] = [
            LeaderCompleteness(records), ElectionSafety(records), VoteDurability(records), LogMatching(records),
            CommitRule(records), StateMachineSafety(records), OneVoterAtATime(records), self.convergence,
            self.exactly_once,
        ]  # fmt: skip
        if of_guard:
            promises += [
                HonestAnswers(records), CountedAsHeard(records), AnswersWhereAsked(records), DurableDisk(records),
                DurableFirst(records), SameState(records), LogTime(records), self.staleness, self.reads, self.causal,
                self.proposed, StoppedWhole(records),
            ]  # fmt: skip
        self._promises = promises
        self._heard: dict[str, list[Heard]] = {
            kind: [promise.heard for promise in promises if kind in promise.listens]
            for kind in sorted(set(chain.from_iterable(promise.listens for promise in promises)))
        }
        self._said: dict[str, list[Said]] = {
            kind: [promise.said for promise in promises if kind in promise.watches]
            for kind in sorted(set(chain.from_iterable(promise.watches for promise in promises)))
        }
        self._started = [promise.started for promise in promises if _overrides(promise, "started")]
        self._decided = [promise.decided for promise in promises if _overrides(promise, "decided")]
        self._applied = [promise.applied for promise in promises if _overrides(promise, "applied")]
        self._stored = [promise.stored for promise in promises if _overrides(promise, "stored")]
        self._turned = [promise.turned for promise in promises if _overrides(promise, "turned")]
        self._stopped = [promise.stopped for promise in promises if _overrides(promise, "stopped")]
        self._ended: list[Callable[[], None]] = [promise.ended for promise in promises]

    def watch(self, nodes: Sequence[SimNode], membership: Membership) -> None:
        """Before anything runs. nodes: may change while the cluster lives."""
        self.records.nodes = nodes
        self.records.memberships.append(membership)

    def replaced(self, node: SimNode) -> None:
        """A node begins with an empty disk under a name that was another's."""
        for promise in self._promises:
            promise.replaced(node)

    def started(self, node: SimNode) -> None:
        """A process begins."""
        for hook in self._started:
            hook(node)

    def took(self, node: SimNode, events: Sequence[Event]) -> None:
        """A turn is about to take these."""
        if node.replica is not None:
            self._applied_before[node.node_id] = node.replica.applied_index
        for frame in self._links.current(node, events):
            hooks = self._heard.get(kind_of(frame.payload))
            if hooks:
                message = decode(frame.payload)
                for hook in hooks:
                    hook(node, frame, message)

    def decided(self, node: SimNode, turn: Turn) -> None:
        """What a turn wants made durable."""
        for hook in self._decided:
            hook(node, turn)

    def applied(self, node: SimNode, turn: Turn) -> None:
        """What a turn applies has taken effect, perhaps in memory only."""
        self.records.applied(turn)
        for hook in self._applied:
            hook(node, turn)

    def stored(self, node: SimNode, turn: Turn) -> None:
        """What a turn decided is on disk."""
        for hook in self._stored:
            hook(node, turn)

    def turned(self, node: SimNode) -> None:
        """A turn is completed."""
        assert node.replica is not None
        graft = node.replica.graft
        applied_index, applied_before = node.replica.applied_index, self._applied_before.get(node.node_id, 0)
        standing = Standing(graft.is_leader, graft.term, graft.commit_index, applied_index, applied_before)
        for hook in self._turned:
            hook(node, standing)

    def said(self, node: SimNode, frames: Sequence[Outgoing]) -> None:
        """Frames leave."""
        for frame in frames:
            hooks = self._said.get(kind_of(frame.payload))
            if hooks:
                message = decode(frame.payload)
                for hook in hooks:
                    hook(node, frame, message)

    def stopped(self, node: SimNode) -> None:
        """Its engine has ended in order; the disk is still open."""
        for hook in self._stopped:
            hook(node)

    def answered(self, node: SimNode, key: WriteKey, index: int) -> None:
        """A caller of `node` was told that its write was applied there."""
        self.exactly_once.answered(node, key, index)
        self.staleness.acknowledged(index, node.timeline.now_s)
        self.causal.acknowledged(key, index)

    def refused(self, node: SimNode, error: ReplicatorError) -> None:
        """A caller was refused. It may be so for a while; nothing that simulated clients ask is wrong for good."""
        if not isinstance(error, Unavailable | DeadlineExceeded | OutcomeUnknown):
            raise broken(node, f"refuses what is right: {error.reason}: {error.message}")

    def ended(self) -> None:
        """After the heal."""
        for hook in self._ended:
            hook()


def _overrides(promise: Promise, hook: str) -> bool:
    return getattr(type(promise), hook) is not getattr(Promise, hook)
