"""How many puts a second are committed, and how long does one take, with 1 and with 256 callers, beside etcd?"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.arena import NO_ETCD, PROFILE, arena
from benchmarks.effort import Effort, Say
from benchmarks.figures import Collector, Result
from benchmarks.load import LoadPlan, Sample, drive
from benchmarks.subjects import Subject

CALLERS: Final = (1, 256)
VALUE_BYTES: Final = (100, 1024)
KEYS: Final = 100_000  # drawn evenly, so that a put is new at first and an update later
WARM_UP_S: Final = 1.0
MEASURE_S: Final = 4.0
SEED: Final = 1


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination that is measured for every subject in every round."""

    callers: int
    value_bytes: int

    @property
    def label(self) -> str:
        return (
            f"{self.callers} callers, {self.value_bytes} B" if self.callers > 1 else f"1 caller, {self.value_bytes} B"
        )


async def run(effort: Effort, say: Say) -> Result:
    """Rounds take the subjects in turn (A B A B), so that a slow minute of the machine meets all of them."""
    found = Collector()
    dice = random.Random(SEED)
    async with arena(say) as stage:
        for number in range(effort.rounds):
            for cell in (Cell(callers, size) for size in VALUE_BYTES for callers in CALLERS):
                say(f"put_latency: round {number + 1} of {effort.rounds}, {cell.label}")
                samples = [(subject, await _measure(subject, cell, effort, dice)) for subject in stage.subjects]
                _collect(found, cell, samples)
        return Result(
            benchmark="put_latency",
            question=__doc__ or "",
            configuration={
                "nodes": 3, "profile": PROFILE, "key_bytes": 16, "keys": KEYS, "etcd": stage.etcd or "none",
                "warm_up_s": effort.seconds(WARM_UP_S), "measure_s": effort.seconds(MEASURE_S), "rounds": effort.rounds,
            },
            figures=found.figures(),
            notes=() if stage.etcd else (NO_ETCD,),
        )  # fmt: skip


async def _measure(subject: Subject, cell: Cell, effort: Effort, dice: random.Random) -> Sample:
    value = dice.randbytes(cell.value_bytes)

    async def put(_number: int) -> None:
        await subject.put(b"%016d" % dice.randrange(KEYS), value)

    plan = LoadPlan(cell.callers, effort.seconds(WARM_UP_S), effort.seconds(MEASURE_S))
    await effort.until_quiet()
    return await drive(put, plan, subject.server_pids)


def _collect(found: Collector, cell: Cell, samples: Sequence[tuple[Subject, Sample]]) -> None:
    for subject, sample in samples:
        name = f"{cell.label}: {subject.name}"
        found.add(f"{name}, committed", "puts/s", sample.per_s)
        found.add(f"{name}, p50", "ms", sample.latency_ms(0.50))
        found.add(f"{name}, p99", "ms", sample.latency_ms(0.99))
        found.add(f"{name}, CPU of the client", "us/put", sample.per_call_us(sample.cpu.client_s))
        found.add(f"{name}, CPU of the 3 servers", "us/put", sample.per_call_us(sample.cpu.servers_s))
        found.add(f"{name}, CPU of others meanwhile", "cores", sample.cpu.others_s / sample.measured_s)
    by_name = {subject.name: sample for subject, sample in samples}
    etcd = by_name.get("etcd")
    if etcd is None:
        return
    for subject, sample in samples:
        if subject.name != "etcd":
            name = f"{cell.label}: {subject.name} / etcd"
            found.add(f"{name}, committed", "ratio", sample.per_s / etcd.per_s)
            found.add(f"{name}, p99", "ratio", sample.latency_ms(0.99) / etcd.latency_ms(0.99))
