"""Did every promise hold, and was it put to the test at all? A run that proves nothing does not pass."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from chaos.checkers import check_all
from chaos.checkers.violation import Breach
from chaos.demo.chronicle import Chronicle
from chaos.demo.guards import Guard, guards_of
from chaos.demo.verify import Ending
from chaos.history import History, Result

EVIDENCE_MAX: Final = 5  # examples kept of each broken promise


class Outcome(Enum):
    """value: as it is printed for machines."""

    HELD = "held"
    BROKEN = "broken"
    UNPROVEN = "unproven"


@dataclass(frozen=True, slots=True)
class Promise:
    """breaches: how often it was broken. checked: on how many `what`. evidence: the first few breaches, in words."""

    name: str
    title: str
    meaning: str
    checked: int
    what: str
    breaches: int
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """guards: all of them, passed or not."""

    promises: tuple[Promise, ...]
    guards: tuple[Guard, ...]

    @property
    def outcome(self) -> Outcome:
        if any(promise.breaches for promise in self.promises):
            return Outcome.BROKEN
        return Outcome.HELD if all(guard.passed for guard in self.guards) else Outcome.UNPROVEN


def judge(history: History, chronicle: Chronicle, ending: Ending, complaints: Iterable[str]) -> Verdict:
    """Runs all checkers over the whole history. complaints: of readers that were shown less than they were told."""
    found: dict[Breach, list[str]] = {breach: [] for breach in Breach}
    for violation in check_all(history):
        found[violation.breach].append(violation.message)
    found[Breach.CAUSAL] += complaints
    acknowledged, reads = len(history.writes(Result.OK)), len(history.reads())
    promises = (
        _promise(
            ("lost", "No acknowledged write is lost", "every node holds each of them, or a later one in its place"),
            (acknowledged, "writes"),
            found[Breach.LOST],
        ),
        _promise(
            ("duplicated", "No write happens twice", "although calls were repeated and replies got lost"),
            (len(history.writes(Result.OK, Result.UNKNOWN)), "writes"),
            found[Breach.DUPLICATED],
        ),
        _promise(
            ("causal_violations", "No read goes back in time", "a local read shows all that its token covers"),
            (sum(1 for read in history.reads() if read.carried), "reads"),
            found[Breach.CAUSAL] + found[Breach.STALE],
        ),
        _promise(
            ("wrong_values", "No update overwrites another unseen", "and each value read is one that was written"),
            (acknowledged + reads, "calls"),
            found[Breach.WRONG],
        ),
        _alone(history, chronicle),
        _promise(
            ("diverged", "All nodes end up the same", "same log, same state, compared key by key and by hash"),
            (len(history.copies), "nodes"),
            found[Breach.DIVERGED],
        ),
    )
    return Verdict(promises, tuple(guards_of(history, chronicle, ending)))


def _alone(history: History, chronicle: Chronicle) -> Promise:
    """A region without a majority: whatever it was asked to write while it was cut off must not be confirmed."""
    cut = chronicle.cutting
    tried = [] if cut is None else [o for o in history.writes() if o.region == cut.region and o.start_s >= cut.at_s]
    during = [o for o in tried if cut is not None and (not cut.healed_s or o.start_s < cut.healed_s)]
    confirmed = [
        o for o in during if o.result is Result.OK and cut is not None and (not cut.healed_s or o.end_s < cut.healed_s)
    ]
    return _promise(
        ("confirmed_alone", "A region on its own confirms nothing", "cut off, it serves reads but no writes"),
        (len(during), "tries"),
        [f"{o} was acknowledged while {o.region} was cut off" for o in confirmed],
    )


def _promise(text: tuple[str, str, str], checked: tuple[int, str], found: list[str]) -> Promise:
    name, title, meaning = text
    return Promise(name, title, meaning, *checked, len(found), tuple(found[:EVIDENCE_MAX]))
