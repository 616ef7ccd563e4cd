"""What does one put cost the state machine and LMDB, disk aside, and what does the disk add to a commit?"""

import random
import tempfile
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

from benchmarks.effort import Effort, Say, Stopwatch
from benchmarks.figures import Collector, Result
from benchmarks.keys import key_of
from benchmarks.offline_load import SIZE_MAX_BYTES, an_entry, applied_at_once
from benchmarks.offline_load import puts as batch_of_puts
from replicator.model.ids import ClusterId, NodeId
from replicator.model.limits import CLIENT_ID_BYTES
from replicator.model.log import Entry
from replicator.storage import Storage

PUTS_PER_TURN: Final = (1, 16, 256)
KEYS: Final = 50_000
VALUE_BYTES: Final = 100
PUTS_PER_ROUND: Final = 20_000
COMMITS_TIMED: Final = 300
SEED: Final = 4
_MEMORY_FOLDER: Final = Path("/dev/shm")


@dataclass(slots=True)
class Bench:
    """One store, and where its log has come to."""

    storage: Storage
    dice: random.Random
    keys: int
    next_index: int = 1
    next_sequence: int = 1

    def turn(self, puts: int, *, named: bool) -> Entry:
        """One entry of one batch of `puts` puts on random keys. named: in the session of one client."""
        keys = [key_of(self.dice.randrange(self.keys)) for _ in range(puts)]
        values = [self.dice.randbytes(VALUE_BYTES) for _ in range(puts)]
        batch = batch_of_puts(keys, values)
        if named:
            batch = batch_of_puts(keys, values, client_id=bytes(CLIENT_ID_BYTES), first_sequence=self.next_sequence)
            self.next_sequence += puts
        entry = an_entry(self.next_index, [batch])
        self.next_index += 1
        return entry


async def run(effort: Effort, say: Say) -> Result:
    """In memory (tmpfs, where a sync is free) for the cost per put; then on the disk for the cost of a commit."""
    found = Collector()
    notes = []
    in_memory = _MEMORY_FOLDER.is_dir()
    if not in_memory:
        notes.append("no /dev/shm here: the cost per put includes the disk")
    with tempfile.TemporaryDirectory(dir=_MEMORY_FOLDER if in_memory else None) as folder:
        bench = _open(Path(folder), effort)
        try:
            for number in range(effort.rounds):
                await effort.until_quiet()
                say(f"apply_rate: round {number + 1} of {effort.rounds}")
                for puts in PUTS_PER_TURN:
                    for named in (False, True):
                        _measure(bench, puts, effort, found, named=named)
        finally:
            bench.storage.close()
    with tempfile.TemporaryDirectory() as folder:
        bench = _open(Path(folder), effort)
        try:
            for _ in range(effort.rounds):
                _measure_commits(bench, effort, found)
        finally:
            bench.storage.close()
    return Result(
        benchmark="apply_rate",
        question=__doc__ or "",
        configuration={
            "keys": bench.keys, "value_bytes": VALUE_BYTES, "puts_per_round": effort.count(PUTS_PER_ROUND),
            "rounds": effort.rounds,
        },
        figures=found.figures(),
        notes=("each turn appends and applies one entry; building the entry is not counted", *notes),
    )  # fmt: skip


def _open(folder: Path, effort: Effort) -> Bench:
    storage = Storage.open(folder, cluster_id=ClusterId("bench"), node_id=NodeId("n1"), size_max_bytes=SIZE_MAX_BYTES)
    bench = Bench(storage, random.Random(SEED), keys=effort.count(KEYS))
    numbers = iter(range(bench.keys))
    for index in count(1):
        keys = [key_of(number) for number, _ in zip(numbers, range(1000), strict=False)]
        if not keys:
            break
        batch = batch_of_puts(keys, [bytes(VALUE_BYTES)] * len(keys))
        storage.commit(applied_at_once((an_entry(index, [batch]),)))
        bench.next_index = index + 1
    return bench


def _measure(bench: Bench, puts: int, effort: Effort, found: Collector, *, named: bool) -> None:
    turns = max(1, effort.count(PUTS_PER_ROUND) // puts)
    entries = [bench.turn(puts, named=named) for _ in range(turns)]
    watch = Stopwatch()
    for entry in entries:
        bench.storage.commit(applied_at_once((entry,)))
    cost_us = watch.elapsed_s() / (turns * puts) * 1e6
    kind = "with write id" if named else "without write id"
    found.add(f"{puts} put{'s' if puts > 1 else ''} a turn, {kind}, no disk", "us/put", cost_us)


def _measure_commits(bench: Bench, effort: Effort, found: Collector) -> None:
    commits = effort.count(COMMITS_TIMED)
    entries = [bench.turn(1, named=True) for _ in range(commits)]
    watch = Stopwatch()
    for entry in entries:
        bench.storage.commit(applied_at_once((entry,)))
    found.add("1 put a turn, with write id, durable on disk", "ms/commit", watch.elapsed_ms() / commits)
