"""The only room with the OpenTelemetry SDK: turns signals into metrics, calls into spans, log records into lines.

Exists so that no other room chooses an exporter, a bucket or a log format.
Knows: `model.observe` and plain values handed in. Must not know: the engine, the store, gRPC services.
"""

from replicator.telemetry.logs import configure_logging
from replicator.telemetry.telemetry import Telemetry, TelemetrySettings
from replicator.telemetry.vitals import PeerVitals, Vitals

__all__ = ["PeerVitals", "Telemetry", "TelemetrySettings", "Vitals", "configure_logging"]
