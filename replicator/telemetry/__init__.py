"""The only room with the OpenTelemetry SDK: turns signals into metrics, calls into spans, log records into lines.

Exists so that no other room chooses an exporter, a bucket or a log format.
Knows: `model.observe` and plain values handed in. Must not know: the engine, the store, gRPC services.
"""

from replicator.telemetry.log_queue import LogQueue
from replicator.telemetry.logs import configure_logging, set_log_level
from replicator.telemetry.telemetry import Telemetry, TelemetrySettings
from replicator.telemetry.vitals import PeerVitals, Vitals

__all__ = [
    "LogQueue", "PeerVitals", "Telemetry", "TelemetrySettings", "Vitals", "configure_logging", "set_log_level",
]  # fmt: skip
