"""The bad minute: what is done to the cluster, in which order, and what must be seen before going on.

Waits are for conditions; the timetable only says how long each state is watched once it is reached.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from chaos.demo.chronicle import Chronicle, Cutting, Kill, Phase
from chaos.demo.live import Screen
from chaos.demo.stage import REGIONS, Stage
from chaos.demo.workload import Workload
from replicator.model.errors import StartupError
from replicator.model.ids import NodeId
from replicator.model.values import NodeStatus

RECOVERY_S_MAX: Final = 25.0  # for a new leader, for a restarted node, for a healed region; beyond it the run is judged
ASK_EVERY_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Timetable:
    """How long each phase is watched, seconds."""

    steady_s: float = 12.0
    leaderless_s: float = 14.0
    returned_s: float = 6.0
    cut_s: float = 14.0
    healed_s: float = 10.0


class Scenario:
    """Runs once."""

    def __init__(
        self, stage: Stage, shop: Workload, chronicle: Chronicle, screen: Screen, timetable: Timetable
    ) -> None:
        self._stage = stage
        self._shop = shop
        self._chronicle = chronicle
        self._screen = screen
        self._timetable = timetable
        self._dice = random.Random(f"{chronicle.seed}/scenario")

    async def run(self) -> None:
        """All phases. A recovery that takes too long ends the run early; the chronicle then lacks the rest.

        Raises StartupError if the shop does not get going at all.
        """
        chronicle, timetable = self._chronicle, self._timetable
        await self._open()
        self._begin(Phase.STEADY)
        chronicle.first_leader = await self._leader()
        chronicle.first_leader_region = self._stage.region_of(NodeId(chronicle.first_leader))
        await asyncio.sleep(timetable.steady_s)
        try:
            self._begin(Phase.LEADERLESS)
            kill = await self._kill_leader()
            await asyncio.sleep(timetable.leaderless_s)
            self._begin(Phase.RETURNED)
            await self._restart(kill)
            await asyncio.sleep(timetable.returned_s)
            self._begin(Phase.CUT)
            cutting = await self._cut_off()
            await asyncio.sleep(timetable.cut_s)
            self._begin(Phase.HEALED)
            await self._heal(cutting)
            await asyncio.sleep(timetable.healed_s)
        except (TimeoutError, StartupError):
            self._screen.say(f"this did not end within {RECOVERY_S_MAX:g} s; the run stops here")
        finally:
            self._stage.network.heal()
            self._shop.mailbox.wake()
            chronicle.end_phase()

    async def _open(self) -> None:
        try:
            await self._until(self._is_in_full_swing)
        except TimeoutError:
            missing = "not every worker could read and write"
            raise StartupError(f"{missing} within {RECOVERY_S_MAX:g} s; see the logs of the nodes") from None

    def _begin(self, phase: Phase) -> None:
        self._chronicle.begin(phase)
        self._screen.phase(phase.value)

    async def _kill_leader(self) -> Kill:
        leader = await self._leader()
        term = (await self._stage.cluster.status(leader)).term
        process = self._stage.cluster.nodes[leader]
        await self._until(self._has_writes_in_flight)
        in_flight = self._shop.traffic.writes_in_flight
        at_s = time.monotonic()
        await process.kill9()
        kill = Kill(leader, self._stage.region_of(leader), at_s, process.exit_code or 0, term, in_flight)
        self._chronicle.kill = kill
        self._screen.say(f"SIGKILL to the leader {leader}, with {in_flight} writes on their way")

        async def is_succeeded() -> bool:
            for status in (await self._stage.cluster.statuses()).values():
                if status.role == "leader" and status.node_id != leader and status.term > term:
                    kill.new_leader, kill.new_term = status.node_id, status.term
            return bool(kill.new_leader)

        await self._until(is_succeeded)
        self._screen.say(f"{kill.new_leader} leads now, in term {kill.new_term}")
        return kill

    async def _restart(self, kill: Kill) -> None:
        node_id = NodeId(kill.node)
        committed = await self._highest_commit()
        kill.restarted_s = time.monotonic()
        self._stage.cluster.nodes[node_id].start()
        await self._until(lambda: self._has_applied(node_id, committed))
        kill.came_back_s = time.monotonic()
        self._screen.say(
            f"{node_id} is back, with everything it missed, after {kill.came_back_s - kill.restarted_s:.1f} s"
        )
        await self._until(lambda: self._is_read_at_home(kill))  # clients look for better nodes every few seconds only
        self._screen.say(f"all reads in {kill.region} are local again")

    async def _cut_off(self) -> Cutting:
        leader_region = self._stage.region_of(await self._leader())
        region = self._dice.choice([region for region in REGIONS if region != leader_region])
        network = self._stage.network
        network.cut_off(region)
        cutting = Cutting(region, time.monotonic(), network.bytes_delivered(region))
        self._chronicle.cutting = cutting
        self._screen.say(f"region {region} is cut off: nothing gets in or out, and nobody is told")
        return cutting

    async def _heal(self, cutting: Cutting) -> None:
        network = self._stage.network
        committed = await self._highest_commit()
        cutting.bytes_during = network.bytes_delivered(cutting.region) - cutting.bytes_before
        cutting.healed_s = time.monotonic()
        network.heal()
        self._shop.mailbox.wake()
        node_id = self._stage.node_in(cutting.region)
        await self._until(lambda: self._has_applied(node_id, committed))
        cutting.converged_s = time.monotonic()
        cutting.bytes_after = network.bytes_delivered(cutting.region) - cutting.bytes_before - cutting.bytes_during
        self._screen.say(f"{cutting.region} caught up {cutting.converged_s - cutting.healed_s:.1f} s after the heal")

    async def _is_read_at_home(self, kill: Kill) -> bool:
        answered_by = self._shop.traffic.answered_by.items()
        return all(node == kill.node for worker, node in answered_by if worker.startswith(f"{kill.region}/"))

    async def _leader(self) -> NodeId:
        return await self._stage.cluster.leader(RECOVERY_S_MAX)

    async def _has_writes_in_flight(self) -> bool:
        return self._shop.traffic.writes_in_flight > 0

    async def _is_in_full_swing(self) -> bool:
        return self._shop.is_in_full_swing

    async def _highest_commit(self) -> int:
        statuses: dict[NodeId, NodeStatus] = await self._stage.cluster.statuses()
        return max((status.commit_index for status in statuses.values()), default=0)

    async def _has_applied(self, node_id: NodeId, index: int) -> bool:
        status = (await self._stage.cluster.statuses()).get(node_id)
        return status is not None and status.applied_index >= index

    async def _until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(RECOVERY_S_MAX):
            while not await holds():  # noqa: ASYNC110  # it happens in another process
                await asyncio.sleep(ASK_EVERY_S)
