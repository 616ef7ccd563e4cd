"""A reader that carries its token never goes back in time: neither the state nor any key gets older."""

from collections import defaultdict

from chaos.checkers.violation import Breach, Violation
from chaos.history import History, Operation


def check(history: History) -> list[Violation]:
    """Per worker, over the reads that carry a token and the first read before them."""
    by_worker: dict[str, list[Operation]] = defaultdict(list)
    for read in sorted(history.reads(), key=lambda o: o.start_s):
        by_worker[read.worker].append(read)
    deleted = history.deleted_keys()
    return [
        Violation(Breach.CAUSAL, problem) for reads in by_worker.values() for problem in _steps_back(reads, deleted)
    ]


def _steps_back(reads: list[Operation], deleted: frozenset[str]) -> list[str]:
    problems: list[str] = []
    last_of_key: dict[str, Operation] = {}
    newest: Operation | None = None
    for read in reads:
        if read.carried and newest is not None and read.revision < newest.revision:
            problems.append(f"{read} saw revision {read.revision} after {newest} had seen {newest.revision}")
        last = last_of_key.get(read.key)
        gone = read.mod_revision == 0 and read.key in deleted
        if read.carried and last is not None and read.mod_revision < last.mod_revision and not gone:
            problems.append(f"{read} is older than {last}, which the same worker had read before")
        last_of_key[read.key] = read
        newest = read
    return problems
