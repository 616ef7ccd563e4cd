"""Every figure of the comparison, with its goal, by peer. The goals are those that the project has set itself."""

from collections.abc import Mapping
from typing import Any, Final

from benchmarks.compare.forwarded_writes import forwarded_writes
from benchmarks.compare.go_client import NAME as ETCD_GO
from benchmarks.compare.growth import growth
from benchmarks.compare.leader_loss import leader_loss
from benchmarks.compare.memory_use import memory_use
from benchmarks.compare.mixed_load import reads_beside_puts
from benchmarks.compare.overload import overload
from benchmarks.compare.pair import ETCD_PYTHON, OpenOpponents, Pair, etcd_opponents, pair_with
from benchmarks.compare.rows import at_most_times, times
from benchmarks.compare.scope import Scope
from benchmarks.compare.sides import Op, Shape
from benchmarks.compare.task import Figure, Stage
from benchmarks.compare.throughput import Goals, put_latency, puts, reads
from benchmarks.compare.unary_share import unary_share
from benchmarks.compare.wan_latency import wan_latency
from benchmarks.peers.nats_kv import NAME as NATS
from benchmarks.peers.nats_kv import nats_opponents
from benchmarks.peers.zookeeper import NAME as ZOOKEEPER
from benchmarks.peers.zookeeper import zookeeper_opponents

KIB: Final = 1024
OPPONENTS: Final[Mapping[str, tuple[OpenOpponents, tuple[str, ...]]]] = {
    "etcd": (etcd_opponents, (ETCD_PYTHON, ETCD_GO)),
    "nats": (nats_opponents, (NATS,)),
    "zookeeper": (zookeeper_opponents, (ZOOKEEPER,)),
}
PEERS: Final = tuple(OPPONENTS)


def stages_for(peer: str, scope: Scope) -> tuple[Stage[Any], ...]:
    """What is measured, in order. Goals stand against etcd only; the other peers are measured for what they are."""
    if peer == "etcd":
        pair = Stage(pair_with(etcd_opponents), (*_etcd_figures(scope), reads_beside_puts(scope)))
        return (
            pair, forwarded_writes(scope), wan_latency(scope), leader_loss(scope), growth(scope), memory_use(scope),
            overload(scope),
        )  # fmt: skip
    opened, names = OPPONENTS[peer]
    return (Stage(pair_with(opened), _plain_figures(scope, dict.fromkeys(names))),)


def _etcd_figures(scope: Scope) -> tuple[Figure[Pair], ...]:
    many, fewer = scope.callers, scope.fewer_callers
    both: Goals = {ETCD_PYTHON: times(5.0), ETCD_GO: times(2.5, stretch=4.0)}
    return (
        puts("puts", Shape(Op.PUT, many, scope.put_keys), both),
        puts("puts_1k", Shape(Op.PUT, many, scope.put_keys, KIB), both),
        puts("puts_256", Shape(Op.PUT, fewer, scope.put_keys), {ETCD_PYTHON: times(5.0), ETCD_GO: None}),
        puts("puts_unary", Shape(Op.PUT, fewer, scope.put_keys), {ETCD_PYTHON: times(0.35)}, unary=True),
        unary_share(scope),
        put_latency(
            "put_latency",
            Shape(Op.PUT, 1, scope.put_keys),
            {ETCD_PYTHON: at_most_times(1.5), ETCD_GO: None},
            {ETCD_PYTHON: at_most_times(2.0), ETCD_GO: None},
        ),
        reads("reads_local", Shape(Op.LOCAL, many, scope.read_keys), {ETCD_PYTHON: times(8.0), ETCD_GO: None}),
        reads(
            "reads_linearizable",
            Shape(Op.LINEARIZABLE, many, scope.read_keys),
            {ETCD_PYTHON: times(5.0), ETCD_GO: None},
        ),
    )


def _plain_figures(scope: Scope, goals: Goals) -> tuple[Figure[Pair], ...]:
    many, fewer = scope.callers, scope.fewer_callers
    return (
        puts("puts", Shape(Op.PUT, many, scope.put_keys), goals),
        puts("puts_1k", Shape(Op.PUT, many, scope.put_keys, KIB), goals),
        puts("puts_256", Shape(Op.PUT, fewer, scope.put_keys), goals),
        put_latency("put_latency", Shape(Op.PUT, 1, scope.put_keys), goals, goals),
        reads("reads_local", Shape(Op.LOCAL, many, scope.read_keys), goals),
        reads("reads_linearizable", Shape(Op.LINEARIZABLE, many, scope.read_keys), goals),
    )
