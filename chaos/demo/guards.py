"""What must have happened for a verdict to mean anything: enough traffic in every phase, and faults that took effect.

Without these, a run in which nothing worked would break no promise.
"""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from chaos.demo.chronicle import Chronicle, Cutting, Kill, Phase
from chaos.demo.figures import role_of, within
from chaos.demo.readers import BROWSER, COURIER
from chaos.demo.stage import REGIONS
from chaos.demo.verify import Ending
from chaos.history import Export, History, Operation, Result

STEADY_WRITES_MIN: Final = 20  # a region
STEADY_READS_MIN: Final = 100  # a region
SUCCESSOR_WRITES_MIN: Final = 30  # by all, after the leader's death
MAJORITY_WRITES_MIN: Final = 20  # by the two regions that still see each other
LOCAL_READS_MIN: Final = 50  # in the region that is cut off, and on the node that came back
COMEBACK_WRITES_MIN: Final = 5  # by a region that takes part again
EXPORTS_MIN: Final = 3  # that saw writes go on between their pages
NEWS_READS_MIN: Final = 50  # with a token from another region


@dataclass(frozen=True, slots=True)
class Guard:
    """One condition, and what was seen of it."""

    name: str
    passed: bool
    detail: str


def guards_of(history: History, chronicle: Chronicle, ending: Ending) -> Iterator[Guard]:
    """All guards of a run, in the order of its phases."""
    count = _Counts(list(history), chronicle)
    yield from _steady(count)
    if chronicle.kill is None:
        yield Guard("leader_killed", False, "the run did not get as far as killing the leader")
    else:
        yield from _killed(count, chronicle.kill)
    if chronicle.cutting is None:
        yield Guard("region_cut_off", False, "the run did not get as far as cutting a region off")
    else:
        yield from _cut(count, chronicle.cutting)
    news = count.reads(lambda o: role_of(o) == COURIER and bool(o.carried) and o.answered_in == o.region)
    yield _at_least("tokens_travelled", news, NEWS_READS_MIN, "local reads with a token from another region")
    beside = sum(count.writes_during(export) > 0 for export in history.exports)
    yield _at_least("exports_beside_writes", beside, EXPORTS_MIN, "exports between whose pages others wrote")
    took = "never" if ending.settled_s is None else f"{ending.settled_s:.1f} s after the last call"
    yield Guard("all_quiet", ending.settled_s is not None, f"all nodes at one position: {took}")


def _steady(count: "_Counts") -> Iterator[Guard]:
    for region in REGIONS:
        writes = count.acknowledged(Phase.STEADY, lambda o, region=region: o.region == region)  # type: ignore[misc]
        yield _at_least(f"steady_writes_{region}", writes, STEADY_WRITES_MIN, f"undisturbed writes in {region}")
        reads = count.reads(
            lambda o, region=region: o.region == region and count.is_in(Phase.STEADY, o)  # type: ignore[misc]
        )
        yield _at_least(f"steady_reads_{region}", reads, STEADY_READS_MIN, f"undisturbed reads in {region}")


def _killed(count: "_Counts", kill: Kill) -> Iterator[Guard]:
    yield Guard("kill_was_sigkill", kill.exit_code == -signal.SIGKILL, f"{kill.node} ended with {kill.exit_code}")
    yield _at_least("kill_in_mid_traffic", kill.writes_in_flight, 1, "writes on their way when the leader died")
    new = f"{kill.new_leader or 'nobody'} led in term {kill.new_term} after {kill.node} in term {kill.term}"
    yield Guard("leader_replaced", bool(kill.new_leader) and kill.new_term > kill.term, new)
    after = count.acknowledged(Phase.LEADERLESS, lambda o: o.start_s >= kill.at_s)
    yield _at_least("successor_works", after, SUCCESSOR_WRITES_MIN, "writes begun and acknowledged after the kill")
    yield Guard("killed_node_returned", kill.came_back_s > 0, f"{kill.node} was restarted and caught up")
    back = count.reads(lambda o: o.node == kill.node and count.is_in(Phase.RETURNED, o))
    yield _at_least("killed_node_serves", back, LOCAL_READS_MIN, f"reads answered by {kill.node} after its return")


def _cut(count: "_Counts", cutting: Cutting) -> Iterator[Guard]:
    region = cutting.region
    still = cutting.bytes_during == 0 and cutting.bytes_after > 0
    detail = f"{cutting.bytes_during} bytes crossed during the cut, {cutting.bytes_after} after the heal"
    yield Guard("cut_took_effect", still, detail)
    others = count.acknowledged(Phase.CUT, lambda o: o.region != region and o.start_s >= cutting.at_s)
    yield _at_least("majority_goes_on", others, MAJORITY_WRITES_MIN, "writes of the other regions during the cut")
    local = count.reads(lambda o: o.answered_in == region == o.region and count.is_in(Phase.CUT, o) and _browses(o))
    yield _at_least("cut_region_reads", local, LOCAL_READS_MIN, f"local reads in {region} during the cut")
    yield Guard("region_converged", cutting.converged_s > 0, f"{region} caught up after the heal")
    writes = count.acknowledged(Phase.HEALED, lambda o: o.region == region and o.start_s >= cutting.healed_s)
    yield _at_least("cut_region_writes_again", writes, COMEBACK_WRITES_MIN, f"writes in {region} after the heal")


class _Counts:
    """How many operations of a run are of a kind."""

    def __init__(self, operations: list[Operation], chronicle: Chronicle) -> None:
        self._acknowledged = [o for o in operations if o.is_write and o.result is Result.OK]
        self._reads = [o for o in operations if not o.is_write and o.result is Result.OK]
        self._within = {phase: within(chronicle.span(phase)) for phase in Phase}

    def is_in(self, phase: Phase, operation: Operation) -> bool:
        return self._within[phase](operation)

    def acknowledged(self, phase: Phase, matches: Callable[[Operation], bool]) -> int:
        return sum(1 for o in self._acknowledged if self._within[phase](o) and matches(o))

    def writes_during(self, export: Export) -> int:
        """Acknowledged while it went on."""
        return sum(1 for o in self._acknowledged if o.start_s >= export.start_s and o.end_s <= export.end_s)

    def reads(self, matches: Callable[[Operation], bool]) -> int:
        return sum(1 for o in self._reads if matches(o))


def _browses(operation: Operation) -> bool:
    return role_of(operation) == BROWSER


def _at_least(name: str, seen: int, wanted: int, what: str) -> Guard:
    return Guard(name, seen >= wanted, f"{seen} {what}; at least {wanted} are needed")
