"""Simulated sessions: a causal token goes with a client, and from client to client; each reads at any node with it.

The rule for the node is that of `service/read_levels.py`: read once the token's point is applied here.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from chaos.simulation.character import Character
from chaos.simulation.node import CLUSTER, SimNode
from chaos.simulation.promises import Judge
from chaos.simulation.timeline import Timeline
from replicator.core.causal_token import CausalToken, token_scope
from replicator.model.errors import ReplicatorError
from replicator.model.ids import LogIndex

PAUSE = 3.0  # between causal reads, in pauses between linearizable ones
TOKEN_SCOPE = token_scope(CLUSTER.encode())  # all tokens are of one group: the world has no other
HEARSAY = 0.3  # chance that a session has heard of another one before it reads
PATIENCE = 10.0  # heartbeats that it waits until the node has caught up, before it goes elsewhere


@dataclass(slots=True)
class Session:
    """What one client has seen, as a token, and its reads. `others` includes itself."""

    nodes: Sequence[SimNode]
    others: "Sequence[Session]"
    timeline: Timeline
    dice: random.Random
    judge: Judge
    character: Character
    name: bytes
    token: str = field(default_factory=lambda: CausalToken(LogIndex(0)).encode(TOKEN_SCOPE))
    stopped: bool = False

    def saw(self, index: int) -> None:
        """An answer covers the log up to here."""
        self._merge(CausalToken(LogIndex(index)))
        self.judge.causal.saw(self.name, index)

    def next_read(self) -> None:
        """Reads somewhere, now or once that node is new enough."""
        if self.stopped:
            return
        self.timeline.after(self.dice.expovariate(1 / (PAUSE * self.character.read_pause_s)), self.next_read)
        if self.dice.random() < HEARSAY:
            other = self.dice.choice(self.others)
            self._merge(CausalToken.decode(other.token, TOKEN_SCOPE))
            self.judge.causal.heard_from(self.name, other.name)
        node = self.dice.choice(self.nodes)
        owed_index, token = self.judge.causal.owed(self.name), CausalToken.decode(self.token, TOKEN_SCOPE)
        patience_s = PATIENCE * node.settings.timing.heartbeat_s

        def reached(refused: ReplicatorError | None) -> None:
            if refused is None:
                self._read(node, owed_index)

        node.call(lambda process: process.engine.wait_applied(token.index, timeout_s=patience_s), reached)

    def _read(self, node: SimNode, owed_index: int) -> None:
        if node.replica is not None:
            self.saw(self.judge.causal.reads(node, owed_index, self.dice))

    def _merge(self, other: CausalToken) -> None:
        self.token = CausalToken.decode(self.token, TOKEN_SCOPE).merge(other).encode(TOKEN_SCOPE)
