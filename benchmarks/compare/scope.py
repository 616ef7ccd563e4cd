"""How much a comparison does: full, for the published table, or quick, for a look within minutes."""

from dataclasses import dataclass
from typing import Final

from replicator.config.schema import LimitsSection

TEN_TIMES_THE_LIMIT: Final = 10 * LimitsSection().calls_in_flight_max


@dataclass(frozen=True, slots=True)
class Scope:
    """The same figures at any scope; a row's name says the sizes that it was measured with.

    rounds: of both sides in turn. callers: the many; fewer_callers: the few hundred.
    wan_calls: sequential calls per round in the WAN. kills: of each side's leader.
    sizes: keys held, ascending, when costs are measured; the last of them also when nodes are restarted.
    fill_limit_s: filling up to one size may take this long; a store that is slower is reported, not waited for.
    memory_s, overload_s: how long the sustained loads last. overload_callers: at a time, in all.
    """

    rounds: int
    warm_up_s: float
    measure_s: float
    callers: int
    fewer_callers: int
    put_keys: int
    read_keys: int
    puts_beside_per_s: int
    wan_calls: int
    kills: int
    sizes: tuple[int, ...]
    fill_limit_s: float
    restarts: int
    memory_s: float
    overload_s: float
    overload_callers: int
    curve_callers: tuple[int, ...]


FULL: Final = Scope(
    rounds=5,
    warm_up_s=1.0,
    measure_s=4.0,
    callers=1_000,
    fewer_callers=256,
    put_keys=100_000,
    read_keys=2_000,
    puts_beside_per_s=2_000,
    wan_calls=60,
    kills=20,
    sizes=(10_000, 100_000, 1_000_000),
    fill_limit_s=600.0,
    restarts=5,
    memory_s=600.0,
    overload_s=60.0,
    overload_callers=TEN_TIMES_THE_LIMIT,
    curve_callers=(1, 16, 64, 256, 1_000),
)

QUICK: Final = Scope(
    rounds=3,
    warm_up_s=0.4,
    measure_s=1.5,
    callers=1_000,
    fewer_callers=256,
    put_keys=10_000,
    read_keys=2_000,
    puts_beside_per_s=2_000,
    wan_calls=10,
    kills=3,
    sizes=(10_000, 100_000),
    fill_limit_s=25.0,
    restarts=2,
    memory_s=60.0,
    overload_s=10.0,
    overload_callers=TEN_TIMES_THE_LIMIT,
    curve_callers=(1, 16, 64, 256, 1_000),
)

HUGE_SIZE: Final = 10_000_000
