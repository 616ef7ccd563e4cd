"""One run from the first process to the verdict."""

import asyncio
import time
from pathlib import Path
from typing import Final

from chaos.demo.chronicle import Chronicle
from chaos.demo.figures import figures_of
from chaos.demo.live import Screen, keep_showing
from chaos.demo.scenario import Scenario, Timetable
from chaos.demo.stage import set_up
from chaos.demo.summary import Report
from chaos.demo.verdict import judge
from chaos.demo.verify import take_stock
from chaos.demo.workload import open_shop
from chaos.history import History

RUN_S_MAX: Final = 170.0  # beyond it the run is void; it ends by itself long before
HISTORY_FILE: Final = "history.jsonl"


async def run(directory: Path, seed: int, screen: Screen, timetable: Timetable) -> Report:
    """Leaves data, logs and history in `directory`, and no process.

    Raises StartupError if the cluster does not come up, the error family if a node does not answer in the end, and
    TimeoutError.
    """
    history = History(directory / HISTORY_FILE)
    started_s = time.monotonic()
    try:
        async with asyncio.timeout(RUN_S_MAX):
            screen.phase("starting a cluster of three processes")
            async with set_up(directory, seed) as stage:
                screen.say(f"all nodes serve after {time.monotonic() - started_s:.1f} s")
                chronicle = Chronicle(seed)
                async with open_shop(stage, history, seed) as shop:
                    watching = asyncio.create_task(keep_showing(screen, stage, shop, chronicle))
                    try:
                        await Scenario(stage, shop, chronicle, screen, timetable).run()
                    finally:
                        watching.cancel()
                        await asyncio.gather(watching, return_exceptions=True)
                screen.phase("all callers are done; every node is read and every call checked")
                ending = await take_stock(stage, history)
    finally:
        history.close()
    verdict = judge(history, chronicle, ending, shop.traffic.complaints)
    return Report(verdict, figures_of(history, chronicle), chronicle, ending, time.monotonic() - started_s, directory)
