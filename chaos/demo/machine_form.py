"""The same report for machines: one JSON object, field names that stay."""

from dataclasses import asdict
from typing import Any

from chaos.demo.figures import Latency, RegionFigures
from chaos.demo.summary import Report
from chaos.demo.verdict import Promise
from replicator.model.values import NodeStatus


def as_json(report: Report) -> dict[str, Any]:
    """Times in seconds or, where the name says so, milliseconds; null: it did not happen."""
    hashes = {status.state_hash for status in report.ending.statuses.values()}
    return {
        "verdict": report.verdict.outcome.value,
        "seed": report.chronicle.seed,
        "took_s": round(report.took_s, 3),
        **_counts(report),
        "promises": [_promise(promise) for promise in report.verdict.promises],
        "guards": [asdict(guard) for guard in report.verdict.guards],
        "regions": {row.region: _region(row) for row in report.figures.regions},
        "first_leader": report.chronicle.first_leader,
        "leader_kill": _kill(report),
        "region_cut": _cut(report),
        "nodes": {node: _node(status) for node, status in report.ending.statuses.items()},
        "state_hashes_agree": len(hashes) == 1,
        "data_kept_in": str(report.kept) if report.kept else None,
    }


def _counts(report: Report) -> dict[str, Any]:
    figures = report.figures
    broken = {promise.name: promise.breaches for promise in report.verdict.promises}
    return {
        "writes": {
            "acknowledged": figures.writes_acknowledged,
            "lost": broken["lost"],
            "duplicated": broken["duplicated"],
            "unknown": figures.writes_unknown,
            "refused": figures.writes_failed,
            "updates_retried": figures.updates_retried,
        },
        "reads": {
            "answered": figures.reads,
            "with_token": figures.reads_with_token,
            "failed": figures.reads_failed,
            "causal_violations": broken["causal_violations"],
        },
    }


def _promise(promise: Promise) -> dict[str, Any]:
    return {
        "name": promise.name,
        "title": promise.title,
        "checked": promise.checked,
        "breaches": promise.breaches,
        "evidence": list(promise.evidence),
    }


def _kill(report: Report) -> dict[str, Any] | None:
    kill = report.chronicle.kill
    if kill is None:
        return None
    return {
        "node": kill.node,
        "exit_code": kill.exit_code,
        "writes_in_flight": kill.writes_in_flight,
        "new_leader": kill.new_leader or None,
        "without_leader_s": _rounded(report.figures.without_leader_s),
        "came_back_s": _rounded(report.figures.came_back_s),
    }


def _cut(report: Report) -> dict[str, Any] | None:
    cutting = report.chronicle.cutting
    if cutting is None:
        return None
    return {
        "region": cutting.region,
        "lasted_s": _rounded(cutting.healed_s - cutting.at_s if cutting.healed_s else None),
        "bytes_crossed": cutting.bytes_during,
        "converged_s": _rounded(report.figures.converged_s),
    }


def _node(status: NodeStatus) -> dict[str, Any]:
    return {
        "region": status.region,
        "role": status.role,
        "applied_index": status.applied_index,
        "keys": status.live_keys,
        "rolling_hash": status.rolling_hash,
        "state_hash": status.state_hash,
    }


def _region(row: RegionFigures) -> dict[str, Any]:
    return {
        "round_trip_to_leader_ms": _ms(row.round_trip_to_leader_s),
        "least_write_ms": _ms(row.least_write_s),
        "write": _latency(row.writes),
        "write_whole_run": _latency(row.writes_whole_run),
        "local_read": _latency(row.local_reads),
        "news_read": _latency(row.news_reads),
        "reads_elsewhere": row.reads_elsewhere,
    }


def _latency(latency: Latency) -> dict[str, Any]:
    return {"count": latency.count, "p50_ms": _ms(latency.p50_s), "p99_ms": _ms(latency.p99_s)}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 3)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
