"""What can be watched while it happens: a living screen on a terminal, plain lines everywhere else."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from chaos.demo.chronicle import Chronicle
from chaos.demo.stage import REGIONS, Stage
from chaos.demo.workload import Workload
from chaos.history import Operation, Result

REFRESH_S: Final = 0.5
RATE_OVER_S: Final = 2.0
RECENT_OPERATIONS_MAX: Final = 3000  # looked through for the rates of the last two seconds


@dataclass(frozen=True, slots=True)
class RegionView:
    """A region at this moment. role: of its node; `down` if its process is dead."""

    region: str
    node: str
    role: str
    is_cut_off: bool
    writes_per_s: float
    reads_per_s: float


@dataclass(frozen=True, slots=True)
class View:
    """Everything that the screen shows."""

    phase: str
    elapsed_s: float
    regions: tuple[RegionView, ...]
    acknowledged: int
    unknown: int
    reads: int
    complaints: int


class Screen(Protocol):
    """Where progress goes."""

    def say(self, text: str) -> None:
        """One event, worth keeping."""
        ...

    def phase(self, text: str) -> None:
        """A new phase begins."""
        ...

    def show(self, view: View) -> None:
        """The state of this moment; replaces the one before."""
        ...


class PlainScreen:
    """One line an event: for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def say(self, text: str) -> None:
        self._write(f"  {text}")

    def phase(self, text: str) -> None:
        self._write(text)

    def show(self, _: View) -> None:
        """Too much for lines."""

    def _write(self, text: str) -> None:
        line = Text(f"{time.monotonic() - self._started_s:6.1f} s  {text}")
        self._console.print(line, soft_wrap=True)


class LiveScreen:
    """A table that changes, and above it what has happened, which stays. A context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started_s = time.monotonic()
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(Text(f"{time.monotonic() - self._started_s:6.1f} s    {text}"))

    def phase(self, text: str) -> None:
        self._console.print(Text(f"{time.monotonic() - self._started_s:6.1f} s  {text}", style="bold"))

    def show(self, view: View) -> None:
        self._live.update(Group(Text(), _table(view), Text(_totals(view), style="dim")))


async def keep_showing(screen: Screen, stage: Stage, shop: Workload, chronicle: Chronicle) -> None:
    """Shows the present twice a second, until it is cancelled."""
    while True:
        screen.show(await _view(stage, shop, chronicle))
        await asyncio.sleep(REFRESH_S)


async def _view(stage: Stage, shop: Workload, chronicle: Chronicle) -> View:
    statuses = await stage.cluster.statuses()
    history, now_s = shop.traffic.history, time.monotonic()
    recent = [o for o in history.since(max(0, len(history) - RECENT_OPERATIONS_MAX)) if o.end_s >= now_s - RATE_OVER_S]
    cutting = chronicle.cutting
    cut_off = cutting.region if cutting is not None and not cutting.healed_s else ""
    regions = []
    for region in REGIONS:
        node = stage.node_in(region)
        status = statuses.get(node)
        role = status.role if status is not None else "no answer"
        mine = [o for o in recent if o.region == region]
        regions.append(
            RegionView(
                region,
                node,
                role if stage.cluster.nodes[node].alive else "down",
                region == cut_off,
                _rate([o for o in mine if o.is_write]),
                _rate([o for o in mine if not o.is_write]),
            )
        )
    return View(
        phase=chronicle.phase.value if chronicle.phase else "",
        elapsed_s=now_s - chronicle.started_s,
        regions=tuple(regions),
        acknowledged=shop.traffic.acknowledged,
        unknown=shop.traffic.unknown,
        reads=shop.traffic.reads,
        complaints=len(shop.traffic.complaints),
    )


def _rate(operations: list[Operation]) -> float:
    return sum(1 for o in operations if o.result is Result.OK) / RATE_OVER_S


def _table(view: View) -> Table:
    table = Table(title=f"{view.phase}  ·  {view.elapsed_s:.0f} s", title_justify="left", title_style="bold cyan")
    for name, justify in (
        ("region", "left"),
        ("node", "left"),
        ("", "left"),
        ("writes/s", "right"),
        ("reads/s", "right"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in view.regions:
        state = Text("cut off", style="yellow") if row.is_cut_off else Text(row.role, style=_STYLE.get(row.role, ""))
        table.add_row(row.region, row.node, state, f"{row.writes_per_s:.0f}", f"{row.reads_per_s:.0f}")
    return table


def _totals(view: View) -> str:
    return (
        f"{view.acknowledged:,} writes acknowledged, {view.unknown:,} with unknown outcome; "
        f"{view.reads:,} reads, {view.complaints} of them stale"
    )


_STYLE: Final = {"leader": "bold green", "down": "bold red", "candidate": "yellow", "no answer": "yellow"}
