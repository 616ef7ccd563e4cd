"""The numbers of a run, from its history and its chronicle alone."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from chaos.demo.chronicle import Chronicle, Phase, Span
from chaos.demo.readers import BROWSER, COURIER
from chaos.demo.stage import REGIONS, least_write_s, round_trip_s
from chaos.history import History, Kind, Operation, Result


@dataclass(frozen=True, slots=True)
class Latency:
    """Of `count` calls, seconds; None if there were none."""

    count: int
    p50_s: float | None
    p99_s: float | None

    @classmethod
    def of(cls, operations: Iterable[Operation]) -> "Latency":
        took_s = sorted(operation.took_s for operation in operations)
        return cls(len(took_s), percentile(took_s, 50), percentile(took_s, 99))


@dataclass(frozen=True, slots=True)
class RegionFigures:
    """One region. The round trip and the least a write can take are those of the undisturbed phase's leader."""

    region: str
    round_trip_to_leader_s: float
    least_write_s: float
    writes: Latency  # undisturbed phase
    writes_whole_run: Latency
    local_reads: Latency  # no waiting needed: the token was covered already
    news_reads: Latency  # the token came from another region, ahead of the data
    reads_elsewhere: int  # answered by another region while the own node was down


@dataclass(frozen=True, slots=True)
class Figures:
    """The whole run. None: it did not happen."""

    writes_acknowledged: int
    writes_unknown: int
    writes_failed: int
    updates_retried: int  # compare-and-set that came second
    reads: int
    reads_with_token: int
    reads_failed: int
    regions: tuple[RegionFigures, ...]
    without_leader_s: float | None  # from the kill to the first acknowledgement of a write that began after it
    came_back_s: float | None
    converged_s: float | None
    traffic_s: float


def figures_of(history: History, chronicle: Chronicle) -> Figures:
    """All of them."""
    operations = list(history)
    kill, cutting = chronicle.kill, chronicle.cutting
    failed = [o for o in operations if o.is_write and o.result is Result.FAILED]
    ended_s = chronicle.spans[-1].end_s if chronicle.spans else chronicle.started_s
    return Figures(
        writes_acknowledged=len(history.writes(Result.OK)),
        writes_unknown=len(history.writes(Result.UNKNOWN)),
        writes_failed=sum(1 for o in failed if o.error),
        updates_retried=sum(1 for o in failed if not o.error),
        reads=len(history.reads()),
        reads_with_token=sum(1 for o in history.reads() if o.carried),
        reads_failed=sum(1 for o in operations if o.kind is Kind.READ and o.result is Result.FAILED),
        regions=tuple(_region(region, operations, chronicle) for region in REGIONS),
        without_leader_s=_first_acknowledgement_after(operations, kill.at_s) if kill else None,
        came_back_s=kill.came_back_s - kill.restarted_s if kill and kill.came_back_s else None,
        converged_s=cutting.converged_s - cutting.healed_s if cutting and cutting.converged_s else None,
        traffic_s=ended_s - (chronicle.spans[0].start_s if chronicle.spans else chronicle.started_s),
    )


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Nearest rank: the smallest of the ordered values that `share` per cent of them do not exceed."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)]


def within(span: Span | None) -> Callable[[Operation], bool]:
    """Whether a call began and ended in a span."""
    if span is None:
        return lambda _: False
    return lambda o: span.start_s <= o.start_s and o.end_s <= span.end_s


def role_of(operation: Operation) -> str:
    """What kind of worker made the call: `eu/browser-2` is a browser."""
    return operation.worker.rpartition("/")[2].rpartition("-")[0]


def _region(region: str, operations: list[Operation], chronicle: Chronicle) -> RegionFigures:
    mine = [o for o in operations if o.region == region]
    acknowledged = [o for o in mine if o.is_write and o.result is Result.OK]
    reads = [o for o in mine if o.kind is Kind.READ and o.result is Result.OK]
    local = [o for o in reads if o.answered_in == region]
    leader_region = chronicle.first_leader_region or region
    return RegionFigures(
        region=region,
        round_trip_to_leader_s=round_trip_s(region, leader_region),
        least_write_s=least_write_s(region, leader_region),
        writes=Latency.of(filter(within(chronicle.span(Phase.STEADY)), acknowledged)),
        writes_whole_run=Latency.of(acknowledged),
        local_reads=Latency.of(o for o in local if role_of(o) == BROWSER),
        news_reads=Latency.of(o for o in local if role_of(o) == COURIER),
        reads_elsewhere=len(reads) - len(local),
    )


def _first_acknowledgement_after(operations: Iterable[Operation], kill_s: float) -> float | None:
    """A write that began after the leader's death can only have been acknowledged by its successor."""
    ends = [o.end_s for o in operations if o.is_write and o.result is Result.OK and o.start_s >= kill_s]
    return min(ends) - kill_s if ends else None
