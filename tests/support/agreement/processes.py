"""The stage of real processes: nodes on LMDB files and sockets, every link between them through a proxy.

Callers reach each node directly, so a node that is cut off from the others is still asked.
"""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields, replace
from itertools import permutations
from pathlib import Path

import replicator
from chaos.history import FinalCopy, History, Pair
from chaos.wire import CutMode, Direction, Link, LinkSettings, Network, Route
from replicator.config.timing import RaftTiming
from replicator.dev import ClusterPlan, LocalCluster, NodePlan, NodeProcess, SeenAt, plan_cluster
from replicator.model.errors import ReplicatorError
from replicator.model.ids import NodeId
from replicator.model.values import NodeStatus
from replicator.v1 import kv_pb2
from tests.support.agreement.process_load import AdmissionGate, ProcessLoad, call
from tests.support.agreement.record import ENDED
from tests.support.agreement.stage import Answers, Ended, Reign

REGIONS = ("eu", "us", "ap")
WAIT_S = 60.0
LOOK_EVERY_S = 0.05
PATIENCE_S = 30.0  # of a caller that is asked to wait for whatever comes
PAGE_KEYS = 1000


@dataclass(frozen=True, slots=True)
class TimedPlan(ClusterPlan):
    """A plan whose nodes have timers of their own, none of a profile."""

    timing: RaftTiming = field(kw_only=True)

    def toml_of(self, viewer: NodePlan) -> str:
        timers = "".join(f"{each.name} = {getattr(self.timing, each.name)}\n" for each in fields(RaftTiming))
        return ClusterPlan.toml_of(self, viewer).replace("[raft]\n", f"[raft]\n{timers}")


@asynccontextmanager
async def set_up(directory: Path, timing: RaftTiming, seed: int) -> AsyncIterator["ProcessStage"]:
    """A cluster that serves, under load. Whatever happens, nothing of it remains."""
    planned = plan_cluster(directory, REGIONS)
    plan = TimedPlan(**{each.name: getattr(planned, each.name) for each in fields(planned)}, timing=timing)
    pairs = {frozenset((one.region, other.region)) for one, other in permutations(plan.nodes, 2)}
    async with Network({pair: LinkSettings() for pair in pairs}, seed=seed) as network:
        lines: dict[tuple[NodeId, NodeId], Link] = {}
        for dialler, target in permutations(plan.nodes, 2):
            route = Route(dialler.region, target.region)
            lines[dialler.id, target.id] = await network.connect(route, target.peer)
        routed = replace(plan, seen_from={pair: SeenAt(peer=line.address) for pair, line in lines.items()})
        history = History(directory / "history.jsonl")
        try:
            async with LocalCluster(routed) as cluster, ProcessLoad(cluster, history, random.Random(seed)) as load:
                yield ProcessStage(cluster, lines, load, timing.election_timeout_max_s)
        finally:
            history.close()


class ProcessStage:
    """Implements stage.Stage, and what the test itself needs at the end."""

    def __init__(
        self, cluster: LocalCluster, lines: dict[tuple[NodeId, NodeId], Link], load: ProcessLoad, election_s: float
    ) -> None:
        self.names: Sequence[NodeId] = tuple(cluster.nodes)
        self.election_s, self.load = election_s, load
        self._cluster, self._lines = cluster, lines
        self._cuts: set[tuple[NodeId, NodeId]] = set()
        self._stopped: set[NodeId] = set()

    async def more_writes(self, count: int = 30) -> None:
        goal = self.load.traffic.acknowledged + count
        await self._until(self._now(lambda: self.load.traffic.acknowledged >= goal), f"{count} acknowledged writes")

    async def ask(self, node: NodeId) -> "ProcessAsked":
        return ProcessAsked(self.load, self.load.doors[node])

    async def reign(self, *, without: NodeId | None = None) -> Reign:
        found: list[Reign] = []

        async def somebody_leads() -> bool:
            statuses = await self._statuses()
            leading = [status for status in statuses if status.role == "leader" and status.node_id != without]
            newest = max(leading, key=lambda status: status.term, default=None)
            if newest is not None:
                found.append(Reign(NodeId(newest.node_id), newest.term))
            return newest is not None

        await self._until(somebody_leads, "a leader" + (f" other than {without}" if without else ""))
        return found[-1]

    async def gives_up(self, node: NodeId) -> bool:
        linked: list[bool] = []

        async def leads_no_more() -> bool:
            status = await self._cluster.status(node)
            linked.append(any(member.connected for member in status.members if member.node_id != node))
            return status.role != "leader"

        await self._until(leads_no_more, f"the end of {node}'s reign")
        return linked[-1]

    async def lasts(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    # Nodes ---------------------------------------------------------------------------------------------------------

    async def kill(self, *nodes: NodeId) -> None:
        await asyncio.gather(*(self._cluster.nodes[node].kill9() for node in nodes))

    async def start(self, *nodes: NodeId, joining: bool = False) -> None:
        for node in nodes:
            if joining:
                self._cluster.nodes[node] = NodeProcess(self._cluster.nodes[node].plan, ["--join"])
            self._cluster.nodes[node].start()

    async def stop(self, *nodes: NodeId) -> None:
        for node in nodes:
            os.kill(self._cluster.nodes[node].pid, signal.SIGSTOP)
            self._stopped.add(node)

    async def wake(self, *nodes: NodeId) -> None:
        for node in nodes:
            self._stopped.discard(node)
            os.kill(self._cluster.nodes[node].pid, signal.SIGCONT)

    async def wipe(self, node: NodeId) -> None:
        shutil.rmtree(self._cluster.nodes[node].plan.data_dir)

    # Links ---------------------------------------------------------------------------------------------------------

    async def cut(self, sender: NodeId, receiver: NodeId) -> None:
        self._cuts.add((sender, receiver))
        for dialler, target in permutations((sender, receiver)):
            there, back = (dialler, target) in self._cuts, (target, dialler) in self._cuts
            direction = Direction.BOTH if there and back else Direction.FORWARD if there else Direction.BACKWARD
            self._lines[dialler, target].cut(CutMode.STALL, direction)

    async def flap(self, one: NodeId, other: NodeId) -> None:
        for dialler, target in permutations((one, other)):
            self._lines[dialler, target].reset_connections()

    async def heal(self) -> None:
        self._cuts.clear()
        for line in self._lines.values():
            line.heal()

    # Operators -----------------------------------------------------------------------------------------------------

    async def transfer(self, to: NodeId) -> Ended:
        leader = self._cluster.nodes[(await self.reign()).node].plan.api
        async with replicator.connect([leader]) as client:
            try:
                await client.transfer_leadership(to, timeout_s=2 * self.election_s)
            except ReplicatorError:
                return "refused"
        return "ok"

    async def add(self) -> NodeId:
        return (await self._cluster.add_node("sa", timeout_s=WAIT_S)).plan.id

    async def is_refused(self, node: NodeId) -> bool:
        log = self._cluster.nodes[node].plan.log_file
        peers = [name for name in self.names if name != node]

        def told() -> bool:
            lines = [line for line in log.read_text().splitlines() if "OTHER_DIRECTORY" in line]
            return all(any(peer in line for line in lines) for peer in peers)

        await self._until(self._now(told), f"both others to refuse {node}")
        return (await self._cluster.status(node)).commit_index == 0

    async def votes(self, node: NodeId) -> bool:
        async def both_say_so() -> bool:
            leader = await self._cluster.status((await self.reign()).node)
            own = await self._cluster.status(node)
            return all(
                {member.node_id: member.role for member in status.members}.get(node) == "voter"
                for status in (leader, own)
            ) and bool(own.leader_id)

        await self._until(both_say_so, f"{node} to vote")
        return True

    # The end -------------------------------------------------------------------------------------------------------

    async def recover(self) -> History:
        """Everything heals; somebody leads, writes go on, and all nodes become alike. The whole record."""
        await self.heal()
        await self.wake(*self._stopped.copy())
        for process in self._cluster.nodes.values():
            if not process.alive:
                process.start()
        await self._cluster.until_serving(WAIT_S)
        await self.more_writes()
        await self.load.stop()
        await self._until(self._stand_alike, "all nodes to be alike")
        for node in self._cluster.nodes:
            self.load.history.copies.append(await self._copy_of(node))
        return self.load.history

    def logs(self) -> str:
        """The ends of all logs, for messages."""
        return "\n".join(f"{name}:\n{node.log_tail(40)}" for name, node in self._cluster.nodes.items())

    async def _stand_alike(self) -> bool:
        statuses = await self._statuses()
        marks = {(status.applied_index, status.last_index, status.rolling_hash) for status in statuses}
        return len(statuses) == len(self._cluster.nodes) and len(marks) == 1

    async def _copy_of(self, node: NodeId) -> FinalCopy:
        status = await self._cluster.status(node, state_hash=True)
        pairs: dict[str, Pair] = {}
        request = kv_pb2.ScanRequest(
            page_size=PAGE_KEYS, options=kv_pb2.ReadOptions(consistency=kv_pb2.CONSISTENCY_LOCAL)
        )
        while True:
            door = await self.load.door(node)
            page = await call(door, door.stub.Scan(request, timeout=PATIENCE_S, wait_for_ready=True), is_write=False)
            for kv in page.kvs:
                pairs[kv.key.decode()] = Pair(kv.value.decode(), kv.mod_revision, kv.version)
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        region = self._cluster.nodes[node].plan.region
        return FinalCopy(node, region, pairs, status.state_hash_index, status.rolling_hash, status.state_hash)

    async def _statuses(self) -> list[NodeStatus]:
        """Of all nodes that can answer."""
        asked = [name for name, node in self._cluster.nodes.items() if node.alive and name not in self._stopped]
        answers = await asyncio.gather(*(self._cluster.status(name) for name in asked), return_exceptions=True)
        return [answer for answer in answers if isinstance(answer, NodeStatus)]

    async def _until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while True:
            with contextlib.suppress(ReplicatorError):
                if await condition():
                    return
            assert time.monotonic() < deadline_s, f"not within {WAIT_S:g} s: {what}\n{self.logs()}"
            await asyncio.sleep(LOOK_EVERY_S)

    @staticmethod
    def _now(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
        async def holds() -> bool:
            return condition()

        return holds


class ProcessAsked:
    """Implements stage.Asked."""

    def __init__(self, load: ProcessLoad, door: AdmissionGate) -> None:
        self._write = asyncio.create_task(load.put_at(door, PATIENCE_S))
        self._read = asyncio.create_task(load.get_at(door, linearizable=True, timeout_s=PATIENCE_S))

    async def ends(self) -> Answers:
        write, read = await asyncio.gather(self._write, self._read)
        return Answers(ENDED[write.result], ENDED[read.result])
