"""All promises of one run, and who asks them when."""

from collections.abc import Callable, Sequence

from chaos.simulation.node import SimNode
from chaos.simulation.promises.answers_where_asked import AnswersWhereAsked
from chaos.simulation.promises.commit_rule import CommitRule
from chaos.simulation.promises.convergence import Convergence
from chaos.simulation.promises.counted_as_heard import CountedAsHeard
from chaos.simulation.promises.election_safety import ElectionSafety
from chaos.simulation.promises.exactly_once import ExactlyOnce
from chaos.simulation.promises.honest_answers import HonestAnswers
from chaos.simulation.promises.honest_staleness import HonestStaleness
from chaos.simulation.promises.leader_completeness import LeaderCompleteness
from chaos.simulation.promises.linearizable_reads import LinearizableReads
from chaos.simulation.promises.log_matching import LogMatching
from chaos.simulation.promises.records import Promise, Records, WriteKey
from chaos.simulation.promises.state_machine_safety import StateMachineSafety
from chaos.simulation.promises.vote_durability import VoteDurability
from replicator.engine.messages import decode
from replicator.engine.replica import Event, Outgoing, Turn
from replicator.v1 import store_pb2

SMALL_FRAME_BYTES_MAX = 128  # votes and answers; what carries entries need not be looked into


class Judge:
    """The only thing that the world, its nodes and its clients know of promises."""

    def __init__(self) -> None:
        self._records = records = Records()
        self.exactly_once, self.staleness, self.reads = (
            ExactlyOnce(records), HonestStaleness(records), LinearizableReads(records),
        )  # fmt: skip
        promises: list[Promise] = [
            LeaderCompleteness(records), ElectionSafety(records), VoteDurability(records), LogMatching(records),
            CommitRule(records), HonestAnswers(records), CountedAsHeard(records), AnswersWhereAsked(records),
            StateMachineSafety(records),
            self.exactly_once, self.staleness, self.reads, Convergence(records),
        ]  # fmt: skip
        self._took = [promise.took for promise in promises if _overrides(promise, "took")]
        self._stored = [promise.stored for promise in promises if _overrides(promise, "stored")]
        self._turned = [promise.turned for promise in promises if _overrides(promise, "turned")]
        self._said = [promise.said for promise in promises if _overrides(promise, "said")]
        self._ended: list[Callable[[], None]] = [promise.ended for promise in promises]

    def watch(self, nodes: Sequence[SimNode]) -> None:
        """Before anything runs."""
        self._records.nodes = nodes

    def took(self, node: SimNode, events: Sequence[Event]) -> None:
        """A turn is about to take these."""
        for hook in self._took:
            hook(node, events)

    def stored(self, node: SimNode, turn: Turn) -> None:
        """What a turn decided is on disk."""
        for hook in self._stored:
            hook(node, turn)

    def turned(self, node: SimNode) -> None:
        """A turn is completed."""
        for hook in self._turned:
            hook(node)

    def said(self, node: SimNode, frames: Sequence[Outgoing]) -> None:
        """Frames leave."""
        for frame in frames:
            if len(frame.payload) <= SMALL_FRAME_BYTES_MAX:
                message = decode(frame.payload)
                for hook in self._said:
                    hook(node, frame, message)

    def answered(self, node: SimNode, key: WriteKey, outcome: store_pb2.Outcome) -> None:
        """A caller of `node` was told that its write was applied."""
        self.exactly_once.answered(node, key, outcome)
        self.staleness.acknowledged(outcome.index, node.timeline.now_s)

    def ended(self) -> None:
        """After the heal."""
        for hook in self._ended:
            hook()


def _overrides(promise: Promise, hook: str) -> bool:
    return getattr(type(promise), hook) is not getattr(Promise, hook)
