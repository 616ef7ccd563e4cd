"""Throughput and p99 against callers, of every side: measured as curves, drawn as SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.compare.pair import Pair
from benchmarks.compare.sides import Op, Shape, Side
from benchmarks.compare.task import Task
from benchmarks.compare.throughput import fill

_TITLES: Final = {Op.PUT: "puts, 100 B", Op.LOCAL: "local reads, 100 B"}

Curves = dict[str, dict[str, list[dict[str, float]]]]  # operation -> side -> points


class PlotsMissing(Exception):
    """matplotlib is not installed; the message says how to get it."""


def check_can_plot() -> None:
    """Raises PlotsMissing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise PlotsMissing("plots need matplotlib: pip install -r requirements-bench.lock") from None


async def measure_curves(pair: Pair, task: Task) -> Curves:
    """One sample a point, the sides of each point one after the other."""
    scope = task.scope
    curves: Curves = {}
    await fill(pair, Shape(Op.LOCAL, 1, scope.read_keys))
    sides: Sequence[Side] = (pair.ours, *pair.opponents.sides.values())
    for op in _TITLES:
        keys = scope.put_keys if op is Op.PUT else scope.read_keys
        by_side = curves.setdefault(op.value, {side.name: [] for side in sides})
        for callers in scope.curve_callers:
            task.say(f"  {op.value}, {callers:,} callers")
            for side in sides:
                reading = await side.measure(Shape(op, callers, keys), scope.warm_up_s, scope.measure_s)
                by_side[side.name].append(
                    {"callers": callers, "per_s": reading.per_s, "p50_ms": reading.p50_ms, "p99_ms": reading.p99_ms}
                )
    return curves


def draw(curves: Mapping[str, Any], folder: Path) -> list[Path]:
    """One file an operation: throughput above, p99 below. Raises PlotsMissing."""
    check_can_plot()
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for op, by_side in curves.items():
        figure = Figure(figsize=(8, 8), layout="constrained")
        rate, tail = figure.subplots(2, 1, sharex=True)
        for name, points in by_side.items():
            callers = [point["callers"] for point in points]
            rate.plot(callers, [point["per_s"] for point in points], marker="o", label=name)
            tail.plot(callers, [point["p99_ms"] for point in points], marker="o", label=name)
        rate.set(title=_TITLES[Op(op)], ylabel="operations/s", xscale="log", yscale="log")
        tail.set(xlabel="callers", ylabel="p99, ms", xscale="log", yscale="log")
        tail.set_xticks(callers, [f"{count:,.0f}" for count in callers], minor=False)
        for axes in (rate, tail):
            axes.grid(visible=True, which="both", alpha=0.3)
        rate.legend()
        written.append(folder / f"{op}.svg")
        figure.savefig(written[-1], metadata={"Date": None})
    return written
