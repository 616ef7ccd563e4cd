"""The two sides of a comparison, each put under the same load and answering with the same reading."""

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

from benchmarks.keys import key_of
from benchmarks.load import LoadPlan, Sample, drive
from benchmarks.subjects import Subject


class Op(StrEnum):
    """local: from one node's own state, which may be old."""

    PUT = "put"
    LOCAL = "local"
    LINEARIZABLE = "linearizable"


@dataclass(frozen=True, slots=True)
class Shape:
    """One load. keys: drawn evenly from so many, 16 digits each. value_bytes: of puts."""

    op: Op
    callers: int
    keys: int
    value_bytes: int = 100


@dataclass(frozen=True, slots=True)
class Reading:
    """cpu_us: role of a process -> CPU microseconds an operation."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: Mapping[str, float]


Roles: TypeAlias = Callable[[], Awaitable[Mapping[str, tuple[int, ...]]]]  # role -> pids, as of now


class Side(Protocol):
    """One system under one client."""

    @property
    def name(self) -> str:
        """As the table names it."""
        ...

    async def measure(self, shape: Shape, warm_up_s: float, measure_s: float) -> Reading:
        """Raises whatever a call raises: a benchmark of failures would look fast."""
        ...


@dataclass(frozen=True, slots=True)
class PythonSide:
    """A subject that this process calls. roles: of its servers."""

    name: str
    subject: Subject
    roles: Roles

    async def measure(self, shape: Shape, warm_up_s: float, measure_s: float) -> Reading:
        """The client is this process."""
        roles = await self.roles()
        pids = [pid for group in roles.values() for pid in group]
        sample = await drive(one_call(self.subject, shape), LoadPlan(shape.callers, warm_up_s, measure_s), pids)
        return reading_of(sample, roles)


def one_call(subject: Subject, shape: Shape) -> Callable[[int], Awaitable[None]]:
    """What each caller does again and again."""
    dice = random.Random(shape.keys)
    keys = [key_of(number) for number in range(shape.keys)]
    value = dice.randbytes(shape.value_bytes)
    count, draw = len(keys), dice.random

    if shape.op is Op.PUT:

        async def put(_number: int) -> None:
            await subject.put(keys[int(draw() * count)], value)

        return put
    read = subject.get_local if shape.op is Op.LOCAL else subject.get_linearizable

    async def get(_number: int) -> None:
        key = keys[int(draw() * count)]
        if await read(key) is None:
            raise RuntimeError(f"{subject.name}: {key!r} was written and is not found")

    return get


def reading_of(sample: Sample, roles: Mapping[str, tuple[int, ...]]) -> Reading:
    """CPU by role, the client's included."""
    used_s = sample.cpu.by_server_s
    cpu_us = {role: sample.per_call_us(sum(used_s[pid] for pid in pids)) for role, pids in roles.items()}
    return Reading(
        per_s=sample.per_s,
        p50_ms=sample.latency_ms(0.50),
        p99_ms=sample.latency_ms(0.99),
        cpu_us={"client": sample.per_call_us(sample.cpu.client_s), **cpu_us},
    )
