"""One node's telemetry: an Observer over OpenTelemetry metrics, a tracer, and the text that Prometheus scrapes.

Providers belong to the instance, never to the process, so that several nodes can live in one test process.
"""

import asyncio
import logging
import threading
from contextlib import suppress
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from replicator.model.observe import Signal
from replicator.telemetry import otlp
from replicator.telemetry.instruments import create_instruments
from replicator.telemetry.vitals import Vitals, VitalsSource, register_vitals

_log = logging.getLogger(__name__)
_SCOPE = "replicator"


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings:
    """otlp_endpoint: HOST:PORT of a collector; without one nothing is pushed and no span is recorded.

    trace_ratio: share of traces that begin here and are recorded, 0 to 1; a caller's decision goes before it.
    """

    node_id: str
    region: str
    version: str
    otlp_endpoint: str | None = None
    trace_ratio: float = 0.01


class Telemetry:
    """Implements `model.observe.Observer`. `count` and `record` may be called from any thread and never raise."""

    def __init__(self, settings: TelemetrySettings) -> None:
        resource = Resource(
            {
                "service.name": "replicator",
                "service.instance.id": settings.node_id,
                "service.version": settings.version,
                "region": settings.region,
            }
        )
        self._is_pushing = settings.otlp_endpoint is not None
        self._registry = CollectorRegistry()
        readers: list[MetricReader] = [PrometheusMetricReader(registry=self._registry, scope_info_enabled=False)]
        if settings.otlp_endpoint is not None:
            readers.append(otlp.metric_reader(settings.otlp_endpoint))
        self._meters = MeterProvider(
            readers, resource, shutdown_on_exit=False, exemplar_filter=AlwaysOffExemplarFilter()
        )
        self._tracers = _tracer_provider(settings, resource)
        self._source: VitalsSource = lambda: None
        meter = self._meters.get_meter(_SCOPE, settings.version)
        instruments = create_instruments(meter)
        self._counters = instruments.counters
        self._histograms = instruments.histograms
        register_vitals(meter, self._vitals)
        self.tracer: Tracer = self._tracers.get_tracer(_SCOPE, settings.version)
        self._stopped = False

    def become_global(self) -> None:
        """Rooms that trace through the OpenTelemetry API record into this instance; one per process, or none.

        Without a collector nothing is installed, so that those rooms see at a glance that nobody listens.
        """
        if self._is_pushing:
            trace.set_tracer_provider(self._tracers)

    def count(self, signal: Signal, amount: int = 1, **labels: str) -> None:
        """Adds to the counter of `signal`."""
        self._counters[signal].add(amount, labels)

    def record(self, signal: Signal, value: float, **labels: str) -> None:
        """Puts one value into the histogram of `signal`."""
        self._histograms[signal].record(value, labels)

    def show_vitals(self, source: VitalsSource) -> None:
        """From now on the gauges show what `source` returns; exporter threads call it."""
        self._source = source

    def exposition(self) -> tuple[bytes, str]:
        """All metrics as Prometheus text, and its content type. Some milliseconds of CPU; touches no network."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    async def stop(self, timeout_s: float) -> None:
        """Pushes what is left. A collector that does not answer is given up on after `timeout_s`. Idempotent."""
        if self._stopped:
            return
        self._stopped = True
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def shut_down() -> None:
            self._shut_down_providers(timeout_s)
            with suppress(RuntimeError):  # the loop may be gone by the time that a silent collector is given up on
                loop.call_soon_threadsafe(done.set)

        # A daemon thread, not the loop's executor: the executor would be joined without a bound when the loop ends.
        threading.Thread(target=shut_down, name="telemetry-stop", daemon=True).start()
        try:
            await asyncio.wait_for(done.wait(), timeout_s)
        except TimeoutError:
            _log.warning("telemetry: the collector took longer than %g s for the last push; it is lost", timeout_s)

    def _vitals(self) -> Vitals | None:
        return self._source()

    def _shut_down_providers(self, timeout_s: float) -> None:
        self._tracers.shutdown()
        try:
            self._meters.shutdown(timeout_millis=timeout_s * 1000)
        except Exception as error:  # the SDK raises bare Exception here, and nothing is left to save
            _log.warning("telemetry: last push of metrics failed: %s", error)


def _tracer_provider(settings: TelemetrySettings, resource: Resource) -> TracerProvider:
    if settings.otlp_endpoint is None:
        return TracerProvider(sampler=ALWAYS_OFF, resource=resource, shutdown_on_exit=False)
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.trace_ratio)), resource=resource, shutdown_on_exit=False
    )
    provider.add_span_processor(otlp.span_processor(settings.otlp_endpoint))
    return provider
