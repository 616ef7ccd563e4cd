"""How long does a read take, from local state and linearizably, with 1 and with 256 callers, beside etcd?"""

import random
from typing import Final

from benchmarks.arena import NO_ETCD, PROFILE, arena
from benchmarks.effort import Effort, Say
from benchmarks.figures import Collector, Result
from benchmarks.load import LoadPlan, Sample, drive, each
from benchmarks.subjects import Subject

CALLERS: Final = (1, 256)
KEYS: Final = 2_000
VALUE_BYTES: Final = 100
WARM_UP_S: Final = 0.5
MEASURE_S: Final = 2.0
FILL_CALLERS: Final = 64
SEED: Final = 2
LOCAL, LINEARIZABLE = "local", "linearizable"


async def run(effort: Effort, say: Say) -> Result:
    """Local: ours CAUSAL without a token, etcd's serializable. Both from the leader, whose state is the newest."""
    found = Collector()
    dice = random.Random(SEED)
    keys = effort.count(KEYS)
    async with arena(say) as stage:
        for subject in stage.subjects:
            await _fill(subject, keys, dice.randbytes(VALUE_BYTES))
        for number in range(effort.rounds):
            for level in (LOCAL, LINEARIZABLE):
                for callers in CALLERS:
                    label = f"{level}, {callers} caller{'s' if callers > 1 else ''}"
                    say(f"read_latency: round {number + 1} of {effort.rounds}, {label}")
                    plan = LoadPlan(callers, effort.seconds(WARM_UP_S), effort.seconds(MEASURE_S))
                    for subject in stage.subjects:
                        await effort.until_quiet()
                        sample = await _measure(subject, level, keys, plan, dice)
                        _collect(found, f"{label}: {subject.name}", sample)
        return Result(
            benchmark="read_latency",
            question=__doc__ or "",
            configuration={
                "nodes": 3, "profile": PROFILE, "keys": keys, "value_bytes": VALUE_BYTES, "etcd": stage.etcd or "none",
                "warm_up_s": effort.seconds(WARM_UP_S), "measure_s": effort.seconds(MEASURE_S), "rounds": effort.rounds,
            },
            figures=found.figures(),
            notes=() if stage.etcd else (NO_ETCD,),
        )  # fmt: skip


async def _fill(subject: Subject, keys: int, value: bytes) -> None:
    await each(lambda number: subject.put(b"%016d" % number, value), keys, FILL_CALLERS)


async def _measure(subject: Subject, level: str, keys: int, plan: LoadPlan, dice: random.Random) -> Sample:
    read = subject.get_local if level == LOCAL else subject.get_linearizable

    async def get(_number: int) -> None:
        value = await read(b"%016d" % dice.randrange(keys))
        if value is None:
            raise RuntimeError(f"{subject.name}: a key that was written is not found")

    return await drive(get, plan, subject.server_pids)


def _collect(found: Collector, name: str, sample: Sample) -> None:
    found.add(f"{name}, answered", "gets/s", sample.per_s)
    found.add(f"{name}, p50", "ms", sample.latency_ms(0.50))
    found.add(f"{name}, p99", "ms", sample.latency_ms(0.99))
    found.add(f"{name}, CPU of others meanwhile", "cores", sample.cpu.others_s / sample.measured_s)
