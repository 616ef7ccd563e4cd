"""An export, or a scan of several pages, shows one revision: all that was written up to it, and nothing after it."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator

from chaos.checkers.violation import Breach, Violation
from chaos.history import Export, History, Operation, Result


def check(history: History) -> list[Violation]:
    """Pages that show different moments give it away: a pair of later, or one that a write of before had replaced.

    A key that a delete may have removed may be absent, and one of a write without an answer may show or not.
    """
    written, found = _by_key(history), list[Violation]()
    for export in history.exports:
        found += [Violation(Breach.WRONG, problem) for problem in _of_later(export)]
        found += [Violation(Breach.WRONG, problem) for problem in _torn(export, written, history.deleted_keys())]
        found += [Violation(Breach.STALE, problem) for problem in _behind(export, history)]
    return found


def _by_key(history: History) -> dict[str, list[Operation]]:
    """Acknowledged writes, by ascending revision."""
    written = defaultdict[str, list[Operation]](list)
    for write in sorted(history.writes(Result.OK), key=lambda write: write.revision):
        written[write.key].append(write)
    return written


def _of_later(export: Export) -> Iterator[str]:
    for key, pair in export.pairs.items():
        if pair.mod_revision > export.revision:
            yield f"{export} shows {key}@{pair.mod_revision}, which came after it"


def _torn(export: Export, written: dict[str, list[Operation]], deleted: frozenset[str]) -> Iterator[str]:
    for key, writes in written.items():
        place = bisect_right(writes, export.revision, key=lambda write: write.revision)
        pair = export.pairs.get(key)
        if place == 0:
            continue
        newest = writes[place - 1]
        if pair is None:
            if key not in deleted:
                yield f"{export} lacks {newest}"
        elif pair.mod_revision < newest.revision:
            yield f"{export} shows {key}@{pair.mod_revision}, but {newest} had replaced it"
        elif pair.mod_revision == newest.revision and pair.value != newest.value:
            yield f"{export} shows another value of {key} than {newest} wrote"


def _behind(export: Export, history: History) -> Iterator[str]:
    """An export is linearizable: it shows what was acknowledged before it began."""
    before = [write for write in history.writes(Result.OK) if write.end_s <= export.start_s]
    newest = max(before, key=lambda write: write.revision, default=None)
    if newest is not None and newest.revision > export.revision:
        yield f"{export} began after {newest} was acknowledged"
