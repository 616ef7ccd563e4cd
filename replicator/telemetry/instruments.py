"""One instrument for each `Signal`, made once; a signal without a row here fails at import, not in production."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from opentelemetry.metrics import Counter, Histogram, Meter

from replicator.model.observe import Signal

Kind = Literal["counter", "histogram"]

# Bucket bounds in seconds. A loopback commit takes 0.2 ms, a call across an ocean 0.3 s, a call that waits out an
# election some seconds: the bounds have to tell these apart.
_SECONDS: Final = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
)  # fmt: skip
_ENTRIES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)


@dataclass(frozen=True, slots=True)
class InstrumentSpec:
    """How a signal is kept. buckets: upper bounds of a histogram, in the unit that the signal's name carries."""

    kind: Kind
    description: str
    buckets: Sequence[float] = ()


INSTRUMENTS: Final[Mapping[Signal, InstrumentSpec]] = {
    Signal.COMMIT_S: InstrumentSpec("histogram", "One durable commit, entries applied in it included", _SECONDS),
    Signal.TURN_ENTRIES_APPLIED: InstrumentSpec("histogram", "Entries applied in one commit", _ENTRIES),
    Signal.PROPOSALS: InstrumentSpec("counter", "Proposals ended, by outcome"),
    Signal.ROLE_CHANGES: InstrumentSpec("counter", "Role changes of this node, by new role"),
    Signal.STATE_DIFFERENCES: InstrumentSpec("counter", "Members found with another state of the same log, by node"),
    Signal.FRAMES_DROPPED: InstrumentSpec("counter", "Peer frames dropped, by cause"),
    Signal.APPENDS_REJECTED: InstrumentSpec("counter", "Appends of a leader that this node refused"),
    Signal.DUPLICATES_SUPPRESSED: InstrumentSpec("counter", "Retried writes answered from the session, not applied"),
    Signal.CALL_S: InstrumentSpec("histogram", "API calls, by method and code", _SECONDS),
    Signal.NEW_CLIENTS_REFUSED: InstrumentSpec("counter", "Writes of new clients refused by the quota of an address"),
    Signal.BATCH_OPERATIONS: InstrumentSpec("counter", "Operations that arrived in batches, by kind"),
    Signal.CHANGES_SENT: InstrumentSpec("counter", "Changes sent to watches, each once for each of them"),
    Signal.CONNECTIONS_CLOSED: InstrumentSpec("counter", "Connections that this node closed, by port and cause"),
    Signal.CONNECTIONS_SILENT: InstrumentSpec("counter", "Connections over TLS to the API that sent no call"),
    Signal.LOOP_LAG_S: InstrumentSpec("histogram", "How late the event loop runs a timer", _SECONDS),
}
assert set(INSTRUMENTS) == set(Signal), "every signal has an instrument"


@dataclass(frozen=True, slots=True)
class InstrumentSet:
    """The instruments of one node."""

    counters: Mapping[Signal, Counter]
    histograms: Mapping[Signal, Histogram]


def create_instruments(meter: Meter) -> InstrumentSet:
    """Makes all instruments. No unit is passed on: the names carry it, and the exporter would append a second one."""
    return InstrumentSet(
        counters={
            signal: meter.create_counter(signal.value, description=spec.description)
            for signal, spec in INSTRUMENTS.items()
            if spec.kind == "counter"
        },
        histograms={
            signal: meter.create_histogram(
                signal.value, description=spec.description, explicit_bucket_boundaries_advisory=spec.buckets
            )
            for signal, spec in INSTRUMENTS.items()
            if spec.kind == "histogram"
        },
    )
