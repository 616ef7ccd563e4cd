"""The pulse refreshes what exporters see and measures the loop."""

import asyncio

from replicator.model.observe import Signal
from replicator.node.pulse import Pulse
from replicator.telemetry import Vitals


class Recorder:
    """Keeps what was recorded."""

    def __init__(self) -> None:
        self.seen: list[tuple[Signal, float]] = []

    def count(self, signal: Signal, amount: int = 1, **labels: str) -> None:
        raise AssertionError("nothing is counted here")

    def record(self, signal: Signal, value: float, **labels: str) -> None:
        self.seen.append((signal, value))


def vitals(term: int) -> Vitals:
    return Vitals(
        role="follower", term=term, has_leader=False, commit_index=0, applied_index=0, last_index=0, revision=0,
        live_keys=0, data_bytes=0, proposals_queued=0, staleness_ms=None, read_only=False, peers=(),
    )  # fmt: skip


async def test_each_beat_takes_a_snapshot_announces_and_measures() -> None:
    recorder, terms, beats = Recorder(), iter(range(1, 100)), asyncio.Queue[int]()
    pulse: Pulse

    async def on_beat() -> None:
        seen = pulse.vitals()
        assert seen is not None
        beats.put_nowait(seen.term)

    pulse = Pulse(recorder, lambda: vitals(next(terms)), on_beat)
    assert pulse.vitals() is None
    task = asyncio.create_task(pulse.run())

    assert [await beats.get(), await beats.get()] == [1, 2]

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert {signal for signal, _ in recorder.seen} == {Signal.LOOP_LAG_S}
    assert all(value >= 0 for _, value in recorder.seen)
