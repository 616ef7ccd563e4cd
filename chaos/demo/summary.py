"""The last screen: the verdict first, then what was promised, what was measured, and how it was done.

For somebody who has never seen the project, so every row says what it means.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from chaos.demo.chronicle import Chronicle
from chaos.demo.figures import Figures, Latency
from chaos.demo.stage import ROUND_TRIP_S
from chaos.demo.verdict import Outcome, Promise, Verdict
from chaos.demo.verify import Ending

WIDE_CHARS: Final = 118
HASH_CHARS: Final = 12  # as many as tell two states apart by eye


@dataclass(frozen=True, slots=True)
class Report:
    """Everything about one finished run. kept: where its data is, None if it was deleted."""

    verdict: Verdict
    figures: Figures
    chronicle: Chronicle
    ending: Ending
    took_s: float
    kept: Path | None


def show(report: Report, console: Console) -> None:
    """Prints the summary."""
    console.print()
    console.print(_headline(report))
    parts: list[RenderableType] = [
        _promises(report.verdict, console.width),
        _regions(report),
        _troubles(report),
        _nodes(report),
    ]
    missing = [f"{guard.name}: {guard.detail}" for guard in report.verdict.guards if not guard.passed]
    if missing:
        parts.insert(0, _unproven(missing))
    for part in (*parts, _footer(report)):
        console.print()
        console.print(Padding(part, (0, 0, 0, 1), expand=False))


def _headline(report: Report) -> Panel:
    style, text = {
        Outcome.HELD: ("green", "EVERY PROMISE HELD"),
        Outcome.BROKEN: ("red", "A PROMISE WAS BROKEN"),
        Outcome.UNPROVEN: ("yellow", "NOT PROVEN: no promise was broken, but not all of them were put to the test"),
    }[report.verdict.outcome]
    lines = ", ".join(f"{'-'.join(sorted(pair))} {1000 * s:.0f} ms" for pair, s in ROUND_TRIP_S.items())
    story = (
        "Three regions, one replicated store, lines as long as real ones "
        f"({lines} round trip). While a shop wrote and read in all of them, "
        f"{_what_happened(report.chronicle)}. Then every call was checked."
    )
    return Panel(Group(Text(text, style=f"bold {style}"), Text(story)), border_style=style, padding=(0, 1))


def _what_happened(chronicle: Chronicle) -> str:
    kill, cutting = chronicle.kill, chronicle.cutting
    events = []
    if kill is not None:
        events.append(
            f"the leader ({kill.node}) was killed with SIGKILL" + (" and came back" if kill.restarted_s else "")
        )
    if cutting is not None:
        events.append(f"region {cutting.region} was cut off" + (" and healed" if cutting.healed_s else ""))
    return ", and ".join(events) or "nothing went wrong"


def _promises(verdict: Verdict, width: int) -> Table:
    """The meaning stands beside the promise if there is room, else below it."""
    is_wide = width >= WIDE_CHARS
    table = _table("What was promised")
    table.add_column()
    table.add_column("promise")
    table.add_column("broken", justify="right")
    table.add_column("checked on", justify="right", no_wrap=True)
    if is_wide:
        table.add_column("which means")
    for promise in verdict.promises:
        style = "bold red" if promise.breaches else "green"
        mark, count = Text("✗" if promise.breaches else "✓", style=style), Text(f"{promise.breaches}", style=style)
        checked = f"{promise.checked:,} {promise.what}"
        if is_wide:
            table.add_row(mark, promise.title, count, checked, _meaning(promise))
        else:
            table.add_row(mark, Group(promise.title, _meaning(promise)), count, checked)
    return table


def _meaning(promise: Promise) -> RenderableType:
    evidence = (Text(f"• {example}", style="red") for example in promise.evidence)
    return Group(Text(promise.meaning, style="dim"), *evidence)


def _regions(report: Report) -> Table:
    table = _table("How fast it was, in milliseconds (p50: half of the calls, p99: 99 of 100 took no longer)")
    headings = (
        "region",
        "round trip\nto leader",
        "write,\nat least",
        "write\np50/p99",
        "in trouble\np50/p99",
        "local read\np50/p99",
        "fresh news\np50/p99",
    )
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for row in report.figures.regions:
        table.add_row(
            row.region,
            _ms(row.round_trip_to_leader_s),
            _ms(row.least_write_s),
            _both(row.writes),
            _both(row.writes_whole_run),
            _both(row.local_reads),
            _both(row.news_reads),
        )
    table.caption = (
        f"write: while all was well, with {report.chronicle.first_leader or 'nobody'} leading. It goes to the leader "
        "and from there to the nearest other region; that distance is the least it can take. in trouble: the whole "
        "run, faults included. local read: of the region's own node. fresh news: a local read with the causal token of "
        "a write in another region, which arrived ahead of the data, so that the read had to wait for it."
    )
    return table


def _troubles(report: Report) -> Table:
    figures, chronicle = report.figures, report.chronicle
    table = _table("How it got through the trouble")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("", style="dim")
    kill, cutting = chronicle.kill, chronicle.cutting
    if kill is not None:
        new = f", until {kill.new_leader} took over" if kill.new_leader else ""
        table.add_row(
            "without a leader", _s(figures.without_leader_s), f"from the SIGKILL to the next confirmed write{new}"
        )
        table.add_row("killed node back", _s(figures.came_back_s), f"{kill.node} restarted, and held all it had missed")
    if cutting is not None:
        meaning = f"after the heal, {cutting.region} held all that was written without it"
        table.add_row("converged", _s(figures.converged_s), meaning)
    table.add_row(
        "writes confirmed", f"{figures.writes_acknowledged:,}", f"in {figures.traffic_s:.0f} s, in all regions"
    )
    table.add_row(
        "outcome unknown", f"{figures.writes_unknown:,}", "the reply got lost; they may count once, never twice"
    )
    table.add_row("writes refused", f"{figures.writes_failed:,}", "the caller was told that nothing happened")
    table.add_row(
        "updates retried", f"{figures.updates_retried:,}", "another region was faster; started again from its value"
    )
    elsewhere = sum(row.reads_elsewhere for row in figures.regions)
    table.add_row("reads elsewhere", f"{elsewhere:,}", "answered by another region while the own node was down")
    return table


def _nodes(report: Report) -> Table:
    table = _table("What every node holds in the end")
    for heading in ("node", "region", "role", "log position", "keys", "hash of its state"):
        table.add_column(heading, justify="right" if heading in ("log position", "keys") else "left")
    hashes = {status.state_hash for status in report.ending.statuses.values()}
    style = "green" if len(hashes) == 1 else "bold red"
    for node, status in report.ending.statuses.items():
        digest = Text(status.state_hash[:HASH_CHARS], style=style)
        table.add_row(node, status.region, status.role, f"{status.applied_index:,}", f"{status.live_keys:,}", digest)
    return table


def _unproven(details: list[str]) -> Group:
    return Group(
        Text("What was not put to the test", style="bold yellow"), *(Text(f"• {detail}") for detail in details)
    )


def _footer(report: Report) -> Text:
    kept = f" Data, logs and history are in {report.kept}." if report.kept else ""
    return Text(
        f"{report.took_s:.0f} s in all, seed {report.chronicle.seed} (replicator demo --seed {report.chronicle.seed} "
        f"draws the same choices).{kept}",
        style="dim",
    )


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="dim",
        caption_justify="left",
        show_header=title != "How it got through the trouble",
    )


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.1f}" if 0 < seconds < 0.01 else f"{1000 * seconds:.0f}"


def _both(latency: Latency) -> str:
    return f"{_ms(latency.p50_s)}/{_ms(latency.p99_s)}"


def _s(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s"
