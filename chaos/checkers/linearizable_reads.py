"""A linearizable read shows everything that anybody was told before it began, and nothing that began after it ended.

Revisions are one order of all writes, so a history need not be searched for an order: each read names its place in it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from chaos.checkers.violation import Breach, Violation
from chaos.history import History, Kind, Operation, Result


def check(history: History) -> list[Violation]:
    """Judges the reads that asked for it, by acknowledged writes, and by reads of that kind among each other."""
    reads = [read for read in history.reads() if read.linearizable]
    problems = [*_too_old(history, reads), *_too_new(history, reads), *_not_the_newest(history, reads)]
    return [Violation(Breach.STALE, problem) for problem in problems]


def _too_old(history: History, reads: list[Operation]) -> Iterator[str]:
    told = sorted([*history.writes(Result.OK), *reads], key=lambda operation: operation.end_s)
    ends_s, newest = [operation.end_s for operation in told], list[Operation]()
    for operation in told:
        newest.append(operation if not newest or operation.revision > newest[-1].revision else newest[-1])
    for read in reads:
        place = bisect_left(ends_s, read.start_s)
        if place and newest[place - 1].revision > read.revision:
            yield f"{read} saw revision {read.revision}; {newest[place - 1]}, which had ended before, is newer"


def _too_new(history: History, reads: list[Operation]) -> Iterator[str]:
    began = sorted(history.writes(Result.OK), key=lambda write: write.start_s, reverse=True)
    begins_s, oldest = [-write.start_s for write in began], list[Operation]()
    for write in began:
        oldest.append(write if not oldest or write.revision < oldest[-1].revision else oldest[-1])
    for read in reads:
        place = bisect_left(begins_s, -read.end_s)
        if place and oldest[place - 1].revision <= read.revision:
            yield f"{read} saw revision {read.revision}; {oldest[place - 1]} had not begun when it ended"


def _not_the_newest(history: History, reads: list[Operation]) -> Iterator[str]:
    """The pair is the newest of its key in the state that the read names."""
    by_key: dict[str, list[Operation]] = {}
    for write in sorted(history.writes(Result.OK), key=lambda write: write.revision):
        by_key.setdefault(write.key, []).append(write)
    perhaps_deleted = history.perhaps_deleted_keys()
    for read in reads:
        if read.mod_revision == 0 and read.key in perhaps_deleted:
            continue
        writes = by_key.get(read.key, [])
        place = bisect_right(writes, read.revision, key=lambda write: write.revision)
        if place and writes[place - 1].kind is not Kind.DELETE and read.mod_revision < writes[place - 1].revision:
            yield f"{read} saw revision {read.revision}, but not {writes[place - 1]}"
