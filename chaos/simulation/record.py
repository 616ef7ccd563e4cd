"""What simulated workers put on record, and its judgement: that of real runs (chaos/checkers)."""

import random
from collections.abc import Callable, Sequence
from typing import Final

from chaos.checkers import check_all
from chaos.history import FinalCopy, History, Pair
from chaos.simulation.character import Character
from chaos.simulation.node import CLUSTER, SimNode
from chaos.simulation.promises import Judge, Violation
from chaos.simulation.timeline import Timeline
from chaos.simulation.workers import KEYS, Worker

WORKERS: Final = 2
PAGE_KEYS: Final = 100_000
PAGE_BYTES: Final = 1 << 26


class Record:
    """The workers of one life, and their history."""

    def __init__(
        self,
        nodes: Sequence[SimNode],
        timeline: Timeline,
        dice: random.Random,
        judge: Judge,
        character: Character,
        *,
        patience_s: float,
    ) -> None:
        self.history = History()
        self._nodes = nodes
        self._workers: list[Worker] = []
        for number in range(WORKERS):
            self._workers.append(
                Worker(
                    name=f"worker-{number}",
                    history=self.history,
                    others=self._workers,
                    nodes=nodes,
                    timeline=timeline,
                    dice=random.Random(dice.random()),
                    judge=judge,
                    character=character,
                    patience_s=patience_s,
                )
            )

    def begin(self) -> None:
        """Each worker does one thing after the other."""
        for worker in self._workers:
            worker.next()

    def calm(self) -> None:
        """From now on they pause for longer."""
        for worker in self._workers:
            worker.calm = True

    def end(self) -> None:
        """They do nothing any more; what is under way has no known outcome."""
        for worker in self._workers:
            worker.end()

    def judged(self) -> None:
        """Once all nodes are alike. Raises Violation."""
        self.history.copies = [copy_of(node, lambda key: key in KEYS) for node in self._nodes]
        for found in check_all(self.history):
            raise Violation(f"on record: {found}")


def copy_of(node: SimNode, is_recorded: Callable[[str], bool]) -> FinalCopy:
    """What a node holds in the end, without keys that no recorded caller has written."""
    assert node.storage is not None
    page = node.storage.scan(b"", None, keys_max=PAGE_KEYS, bytes_max=PAGE_BYTES)
    assert not page.more
    recorded = [kv for kv in page.kvs if is_recorded(kv.key.decode())]
    position = node.storage.position
    return FinalCopy(
        node.node_id,
        str(CLUSTER),
        {kv.key.decode(): Pair(kv.value.decode(), kv.mod_revision, kv.version) for kv in recorded},
        position.applied_index,
        position.rolling_hash.hex(),
        node.storage.state_hash()[0],
    )
