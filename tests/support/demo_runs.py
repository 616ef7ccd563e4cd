"""Runs of the demo as they could have been: a chronicle, a history that passes every guard, and an ending."""

from collections.abc import Iterable
from pathlib import Path

from chaos.demo.chronicle import Chronicle, Cutting, Kill, Phase, Span
from chaos.demo.figures import figures_of
from chaos.demo.stage import REGIONS
from chaos.demo.summary import Report
from chaos.demo.verdict import judge
from chaos.demo.verify import Ending
from chaos.history import Export, FinalCopy, History, Kind, Operation, Pair, Result
from replicator.model.values import NodeStatus

STARTS_S = {Phase.STEADY: 100.0, Phase.LEADERLESS: 110.0, Phase.RETURNED: 120.0, Phase.CUT: 130.0, Phase.HEALED: 140.0}
CALLS = 120  # of every worker in every phase


def a_chronicle() -> Chronicle:
    """The leader in eu dies, us takes over, ap is cut off."""
    chronicle = Chronicle(seed=7, started_s=98.0, first_leader="eu-1", first_leader_region="eu")
    chronicle.spans = [Span(phase, start_s, start_s + 10.0) for phase, start_s in STARTS_S.items()]
    chronicle.kill = Kill("eu-1", "eu", 110.0, -9, 1, 12, "us-1", 2, 120.0, 121.5)
    chronicle.cutting = Cutting("ap", 130.0, 1000, 0, 5000, 140.0, 140.4)
    return chronicle


def a_history() -> History:
    """Writes that take 0.2 s and local reads that take 2 ms, where and when the chronicle lets them."""
    operations: list[Operation] = []
    for phase, start_s in STARTS_S.items():
        for region in REGIONS:
            for number in range(CALLS):
                begin_s, revision = start_s + 1.0 + number * 0.06, len(operations) + 1
                key = f"order/{region}/{phase.name}-{number}"
                is_lost = phase is Phase.CUT and region == "ap"
                write = _a_write(region, key, revision, begin_s, is_lost=is_lost)
                readers = ("browser-1",) if is_lost else ("browser-1", "courier-1")
                operations += [write, *(_a_read(region, worker, write, begin_s + 0.25) for worker in readers)]
    pairs = {o.key: Pair(o.value or "", o.revision, 1) for o in operations if o.is_write and o.result is Result.OK}
    copies = [FinalCopy(f"{region}-1", region, pairs, len(operations), "rolling", "state") for region in REGIONS]
    return History.of(operations, copies, [_an_export(region, operations) for region in REGIONS])


def an_ending(settled_s: float | None = 0.1, state_hashes: Iterable[str] = ("state", "state", "state")) -> Ending:
    return Ending(
        settled_s,
        {f"{region}-1": _a_status(region, digest) for region, digest in zip(REGIONS, state_hashes, strict=True)},
    )


def a_report(history: History, chronicle: Chronicle, ending: Ending, kept: Path | None = None) -> Report:
    verdict = judge(history, chronicle, ending, complaints=())
    return Report(verdict, figures_of(history, chronicle), chronicle, ending, 61.0, kept)


def _a_write(region: str, key: str, revision: int, begin_s: float, *, is_lost: bool) -> Operation:
    return Operation(
        kind=Kind.PUT,
        worker=f"{region}/orders-1",
        region=region,
        key=key,
        value=f"value of {key}",
        result=Result.UNKNOWN if is_lost else Result.OK,
        start_s=begin_s,
        end_s=begin_s + 0.2,
        revision=0 if is_lost else revision,
        token="" if is_lost else f"t{revision}",
        error="OUTCOME_UNKNOWN" if is_lost else "",
    )


def _an_export(region: str, operations: list[Operation]) -> Export:
    """Of the first phase, beside its writes."""
    begin_s = STARTS_S[Phase.STEADY]
    writes = [o for o in operations if o.is_write and o.end_s < begin_s + 10.0]
    pairs = {write.key: Pair(write.value or "", write.revision, 1) for write in writes}
    return Export(f"{region}/exporter-1", max(write.revision for write in writes), pairs, begin_s, begin_s + 10.0)


def _a_read(region: str, worker: str, write: Operation, begin_s: float) -> Operation:
    """Of what was just written, with its token; of nothing, if that got lost."""
    return Operation(
        kind=Kind.READ,
        worker=f"{region}/{worker}",
        region=region,
        key=write.key,
        result=Result.OK,
        start_s=begin_s,
        end_s=begin_s + 0.002,
        value=write.value if write.revision else None,
        carried=write.token,
        token=write.token,
        revision=write.revision,
        mod_revision=write.revision,
        version=1 if write.revision else 0,
        node=f"{region}-1",
        answered_in=region,
    )


def _a_status(region: str, digest: str) -> NodeStatus:
    return NodeStatus(
        cluster_id="c",
        node_id=f"{region}-1",
        region=region,
        version="0.1.0",
        role="leader" if region == "us" else "follower",
        term=2,
        leader_id="us-1",
        commit_index=1800,
        applied_index=1800,
        last_index=1800,
        revision=1800,
        live_keys=1680,
        data_bytes=1 << 20,
        staleness_ms=5.0,
        rolling_hash="rolling",
        state_hash=digest,
        state_hash_index=1800,
        read_only_reason="",
        members=(),
        token="t",
        uptime_s=60.0,
        membership_index=0,
        heartbeat_ms=50,
        election_timeout_min_ms=300,
        election_timeout_max_ms=600,
    )
