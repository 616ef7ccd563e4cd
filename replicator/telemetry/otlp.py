"""Push to an OpenTelemetry collector over plaintext gRPC: the collector is expected beside the node.

The exporters own threads and blocking channels of their own; nothing here runs on the node's event loop.
"""

from typing import Final

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor

METRICS_EXPORT_INTERVAL_MS: Final = 15_000
EXPORT_TIMEOUT_S: Final = 5
SPANS_QUEUED_MAX: Final = 2048  # beyond it spans are dropped, calls are not delayed


def metric_reader(endpoint: str) -> MetricReader:
    """Pushes all metrics at a fixed interval."""
    exporter = OTLPMetricExporter(endpoint=endpoint, insecure=True, timeout=EXPORT_TIMEOUT_S)
    return PeriodicExportingMetricReader(
        exporter,
        export_interval_millis=METRICS_EXPORT_INTERVAL_MS,
        export_timeout_millis=EXPORT_TIMEOUT_S * 1000,
    )


def span_processor(endpoint: str) -> SpanProcessor:
    """Pushes finished spans in batches."""
    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=True, timeout=EXPORT_TIMEOUT_S)
    return BatchSpanProcessor(exporter, max_queue_size=SPANS_QUEUED_MAX, export_timeout_millis=EXPORT_TIMEOUT_S * 1000)
