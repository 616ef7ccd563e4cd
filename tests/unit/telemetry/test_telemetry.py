"""Signals and vitals become metrics, and a node's telemetry ends in bounded time."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator

import pytest

from replicator.model.observe import Observer, Signal
from replicator.telemetry import PeerVitals, Telemetry, TelemetrySettings, Vitals
from replicator.telemetry.instruments import INSTRUMENTS
from replicator.telemetry.vitals import COUNTERS, GAUGES


def settings(**changes: object) -> TelemetrySettings:
    given: dict[str, object] = {"node_id": "eu-1", "region": "eu", "version": "0.1.0", **changes}
    return TelemetrySettings(**given)  # type: ignore[arg-type]


def vitals_of_a_leader() -> Vitals:
    return Vitals(
        role="leader",
        term=7,
        has_leader=True,
        commit_index=40,
        applied_index=39,
        last_index=41,
        revision=12,
        live_keys=3,
        data_bytes=4096,
        proposals_queued=2,
        staleness_ms=1.5,
        read_only=False,
        peers=(PeerVitals("us-1", "us", True, 4, 100, 900), PeerVitals("ap-1", "ap", False, None, 7, 0)),
        certificate_days_left=(("certificate", 12.5), ("authority", -1.0)),
    )


@pytest.fixture
async def telemetry() -> AsyncIterator[Telemetry]:
    made = Telemetry(settings())
    yield made
    await made.stop(timeout_s=5)


def samples(telemetry: Telemetry) -> dict[str, float]:
    body, _ = telemetry.exposition()
    rows = (line.rpartition(" ") for line in body.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}


async def test_a_counter_adds_up_by_label(telemetry: Telemetry) -> None:
    telemetry.count(Signal.PROPOSALS, outcome="committed")
    telemetry.count(Signal.PROPOSALS, 2, outcome="committed")
    telemetry.count(Signal.PROPOSALS, outcome="unknown")

    shown = samples(telemetry)

    assert shown['replicator_engine_proposals_total{outcome="committed"}'] == 3
    assert shown['replicator_engine_proposals_total{outcome="unknown"}'] == 1


async def test_a_histogram_keeps_count_and_sum_and_bounds_that_tell_a_disk_from_an_ocean(telemetry: Telemetry) -> None:
    telemetry.record(Signal.COMMIT_S, 0.0003)
    telemetry.record(Signal.COMMIT_S, 0.3)

    shown = samples(telemetry)

    assert shown["replicator_storage_commit_s_count"] == 2
    assert shown["replicator_storage_commit_s_sum"] == pytest.approx(0.3003)
    assert shown['replicator_storage_commit_s_bucket{le="0.0005"}'] == 1
    assert shown['replicator_storage_commit_s_bucket{le="0.5"}'] == 2


async def test_every_signal_can_be_given_and_is_shown(telemetry: Telemetry) -> None:
    observer: Observer = telemetry
    for signal, spec in INSTRUMENTS.items():
        if spec.kind == "counter":
            observer.count(signal, label="x")
        else:
            observer.record(signal, 1.0, label="x")

    body = telemetry.exposition()[0].decode()

    for signal in Signal:
        assert signal.value.replace(".", "_") in body


async def test_gauges_show_the_vitals_of_the_moment(telemetry: Telemetry) -> None:
    telemetry.show_vitals(vitals_of_a_leader)

    shown = samples(telemetry)

    assert shown['replicator_engine_role{role="leader"}'] == 1
    assert shown['replicator_engine_role{role="follower"}'] == 0
    assert shown["replicator_engine_applied_index"] == 39
    assert shown["replicator_replication_staleness_ms"] == 1.5
    assert shown['replicator_replication_lag_entries{peer="us-1",peer_region="us"}'] == 4
    assert not any("lag_entries" in name and "ap-1" in name for name in shown), "a lag nobody knows is not shown as 0"
    assert shown['replicator_replication_peer_connected{peer="ap-1",peer_region="ap"}'] == 0
    assert shown['replicator_tls_certificate_expiry_days{file="certificate"}'] == 12.5
    assert shown['replicator_tls_certificate_expiry_days{file="authority"}'] == -1


async def test_before_there_are_vitals_no_gauge_claims_a_value(telemetry: Telemetry) -> None:
    assert not any(name.startswith("replicator_engine_term") for name in samples(telemetry))


async def test_what_only_grows_is_shown_as_a_counter(telemetry: Telemetry) -> None:
    telemetry.show_vitals(vitals_of_a_leader)

    shown = samples(telemetry)

    assert shown['replicator_transport_bytes_sent_total{peer="us-1",peer_region="us"}'] == 100
    assert shown['replicator_transport_bytes_saved_total{peer="us-1",peer_region="us"}'] == 900
    assert shown['replicator_transport_bytes_sent_total{peer="ap-1",peer_region="ap"}'] == 7


async def test_every_gauge_and_counter_is_named_and_described() -> None:
    for name, description, _ in (*GAUGES, *COUNTERS):
        assert re.fullmatch(r"replicator\.[a-z]+\.[a-z_]+", name)
        assert description


async def test_two_nodes_in_one_process_do_not_mix_their_metrics(telemetry: Telemetry) -> None:
    other = Telemetry(settings(node_id="us-1", region="us"))
    try:
        other.count(Signal.APPENDS_REJECTED, 5)

        assert not any("appends_rejected" in name for name in samples(telemetry))
        assert 'service_instance_id="us-1"' in other.exposition()[0].decode()
    finally:
        await other.stop(timeout_s=5)


async def test_without_a_collector_no_span_is_recorded(telemetry: Telemetry) -> None:
    with telemetry.tracer.start_as_current_span("call") as span:
        assert not span.is_recording()


async def test_stop_gives_up_on_a_collector_that_accepts_and_says_nothing() -> None:
    """A drain must end in bounded time, whatever listens at the other end."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"127.0.0.1:{silent.getsockname()[1]}"
        telemetry = Telemetry(settings(otlp_endpoint=endpoint, trace_ratio=1.0))
        with telemetry.tracer.start_as_current_span("call") as span:
            assert span.is_recording()
        telemetry.count(Signal.APPENDS_REJECTED)

        await asyncio.wait_for(telemetry.stop(timeout_s=0.2), timeout=10)


async def test_stop_can_be_called_again(telemetry: Telemetry) -> None:
    await telemetry.stop(timeout_s=5)
    await telemetry.stop(timeout_s=5)
