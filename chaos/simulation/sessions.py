"""Simulated sessions: a causal token goes with a client, and from client to client; each reads at any node with it.

They get and scan, at all levels of consistency that take a token. The pages of a scan may come from several nodes.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from chaos.simulation.character import Character
from chaos.simulation.node import SimNode
from chaos.simulation.promises import Judge, broken, write_name
from chaos.simulation.timeline import Timeline
from replicator.model.causal_token import CausalToken, later, token_scope
from replicator.model.errors import ReplicatorError
from replicator.model.values import Consistency
from replicator.service.read import Found
from replicator.service.read_levels import ReadOptions
from replicator.service.scan import Page, ScanRange

PAUSE: Final = 3.0  # between causal reads, in pauses between linearizable ones
HEARSAY: Final = 0.3  # chance that a session has heard of another one before it reads
PATIENCE: Final = 10.0  # heartbeats that it waits until the node has caught up, before it goes elsewhere
LEVELS: Final = {Consistency.CAUSAL: 0.7, Consistency.BOUNDED: 0.2, Consistency.LOCAL: 0.1}
STALENESS_MAX: Final = 2, 10, 100  # that a bounded read allows, in heartbeats
SCANS: Final = 0.05  # share of reads; each makes the state follow the log, which hides what happens without
PAGE_SIZES: Final = 20, 1000


def covered_by(node: SimNode, token: str) -> int:
    """What an answer of `node` says that it covers."""
    assert node.process is not None, "it answers now"
    return CausalToken.decode(token, token_scope(node.process.engine.founder)).index


def seconds(staleness_ms: float | None) -> float | None:
    """As promises count it."""
    return None if staleness_ms is None else staleness_ms / 1000


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
    token: str = ""
    stopped: bool = False

    def saw(self, token: str, index: int) -> None:
        """An answer covers the log up to `index`, and its token says so."""
        self._merge(token)
        self.judge.causal.saw(self.name, index)

    def next_read(self) -> None:
        """Reads somewhere, now or once that node is new enough."""
        if self.stopped:
            return
        self.timeline.after(self.dice.expovariate(1 / (PAUSE * self.character.read_pause_s)), self.next_read)
        if self.dice.random() < HEARSAY:
            other = self.dice.choice(self.others)
            self._merge(other.token)
            self.judge.causal.heard_from(self.name, other.name)
        node = self.dice.choice(self.nodes)
        if self.dice.random() < SCANS:
            client = self.dice.choice(self.others).name
            _Scan(self, client, self.judge.causal.owed(self.name), self._patience_s(node)).ask(node, "")
        else:
            self._get(node)

    def _get(self, node: SimNode) -> None:
        level = self.dice.choices(tuple(LEVELS), tuple(LEVELS.values()))[0]
        heartbeats = self.dice.choice(STALENESS_MAX) if level is Consistency.BOUNDED else 0
        staleness_ms_max = int(1000 * heartbeats * node.settings.timing.heartbeat_s)
        owed_index = self.judge.causal.owed(self.name)
        sought = self.judge.causal.seeks(owed_index, self.dice)

        def answered(found: Found | ReplicatorError) -> None:
            if isinstance(found, ReplicatorError):
                self.judge.refused(node, found)
                return
            index = covered_by(node, found.token)
            self.judge.staleness.claims(node, seconds(found.staleness_ms), index)
            if level is Consistency.BOUNDED:
                self.judge.staleness.claims(node, seconds(staleness_ms_max), index)
            if level is not Consistency.LOCAL:  # which asks for any age
                self.judge.causal.covers(node, index, owed_index)
                self.judge.causal.shows(node, sought, found.kv, index)
            self.saw(found.token, index)

        key, options, timeout_s = (
            write_name(*sought),
            ReadOptions(level, self.token, staleness_ms_max),
            self._patience_s(node),
        )
        node.call(lambda process: process.services.read.get(key, options, timeout_s=timeout_s), answered)

    def _patience_s(self, node: SimNode) -> float:
        return PATIENCE * node.settings.timing.heartbeat_s

    def _merge(self, token: str) -> None:
        self.token = later(self.token, token) if self.token and token else self.token or token


@dataclass(slots=True)
class _Scan:
    """All writes of one client, page by page. owed_index: what the session had seen when it began."""

    session: Session
    client: bytes
    owed_index: int
    patience_s: float
    keys: list[bytes] = field(default_factory=list)
    revision: int | None = None

    def ask(self, node: SimNode, page_token: str) -> None:
        """The next page, at this node."""
        start, end = write_name(self.client, 0), write_name(self.client, 10**8 - 1)
        wanted = ScanRange(start, end, self.session.dice.choice(PAGE_SIZES), page_token)
        options = ReadOptions(Consistency.CAUSAL, self.session.token)
        node.call(
            lambda process: process.services.scan.scan(wanted, options, timeout_s=self.patience_s),
            partial(self._answered, node),
        )

    def _answered(self, node: SimNode, page: Page | ReplicatorError) -> None:
        judge = self.session.judge
        if isinstance(page, ReplicatorError):
            judge.refused(node, page)
            return
        index = covered_by(node, page.token)
        judge.causal.covers(node, index, self.owed_index)
        if page.revision != (self.revision or page.revision):
            raise broken(node, f"served a page at revision {page.revision} of a scan at revision {self.revision}")
        self.revision = page.revision
        self.keys += [kv.key for kv in page.kvs]
        self.session.saw(page.token, index)
        if page.next_page_token:
            self.ask(self.session.dice.choice(self.session.nodes), page.next_page_token)
        else:
            judge.causal.lists(node, self.client, self.keys, self.owed_index)
