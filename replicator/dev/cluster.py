"""All nodes of a local cluster: started together, watched, and certainly stopped."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from replicator.client import Client, ClientTls, connect
from replicator.dev.cluster_plan import ClusterPlan
from replicator.dev.processes import POLL_S, NodeProcess
from replicator.model.deadline import Deadline
from replicator.model.errors import ReplicatorError, StartupError, Unavailable
from replicator.model.ids import LogIndex, NodeId
from replicator.model.values import NodeStatus

START_TIMEOUT_S: Final = 30.0
ANSWER_TIMEOUT_S: Final = 30.0  # of one node that must answer: it may be busy, and a state hash reads every key
ROUND_TIMEOUT_S: Final = 2.0  # of each node where all are asked again and again, and some may be dead
ASK_EVERY_S: Final = 0.05


class LocalCluster:
    """An async context manager: entered, every node serves and knows the leader; left, no process remains.

    nodes: by id. A node that dies is not restarted; `nodes[id].start()` brings it back.
    Raises StartupError, with the end of the log of the node that failed, if the cluster does not come up.
    """

    def __init__(
        self, plan: ClusterPlan, *, tls: ClientTls | None = None, start_timeout_s: float = START_TIMEOUT_S
    ) -> None:
        """tls: how to reach the nodes, if the plan's `more_toml` has [tls]."""
        self.plan = plan
        self.nodes = {node.id: NodeProcess(node) for node in plan.nodes}
        self._tls = tls
        self._start_timeout_s = start_timeout_s
        self._leader_id = NodeId("")
        self._clients: dict[NodeId, Client] = {}

    async def __aenter__(self) -> Self:
        self.plan.check_unused()
        try:
            self.plan.write()
            for process in self.nodes.values():
                process.start()
            await self.until_serving(self._start_timeout_s)
        except BaseException:
            await self._give_up()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.stop()
        else:
            await self._give_up()

    async def stop(self) -> dict[NodeId, int]:
        """Drains every node that runs (SIGTERM). The exit codes."""
        try:
            await self._close_clients()
            ran = [process for process in self.nodes.values() if process.alive]
            codes = await asyncio.gather(*(process.terminate() for process in ran))
        except BaseException:
            self.kill_now()
            raise
        return {process.plan.id: code for process, code in zip(ran, codes, strict=True)}

    def kill_now(self) -> None:
        """SIGKILL for every node that runs, without a loop."""
        for process in self.nodes.values():
            process.kill_now()

    def endpoints(self) -> list[str]:
        """Where clients reach the nodes that run."""
        return [process.plan.api for process in self.nodes.values() if process.alive]

    async def status(self, node_id: NodeId, *, state_hash: bool = False) -> NodeStatus:
        """What one node says of itself; asked again while it cannot be reached. Raises the error family in the end."""
        deadline = Deadline.after(ANSWER_TIMEOUT_S)
        while True:
            try:
                return await self._ask(node_id, deadline.left_s(), state_hash=state_hash)
            except Unavailable:
                if deadline.left_s() <= ASK_EVERY_S:
                    raise
            await asyncio.sleep(ASK_EVERY_S)

    async def statuses(self) -> dict[NodeId, NodeStatus]:
        """Of all nodes that answer now."""
        running = [node_id for node_id, process in self.nodes.items() if process.alive]
        questions = (self._ask(node_id, ROUND_TIMEOUT_S) for node_id in running)
        answers = await asyncio.gather(*questions, return_exceptions=True)
        found: dict[NodeId, NodeStatus] = {}
        for node_id, answer in zip(running, answers, strict=True):
            if isinstance(answer, NodeStatus):
                found[node_id] = answer
            elif not isinstance(answer, ReplicatorError):
                raise answer
        return found

    async def add_node(
        self, region: str, *, observer: bool = False, replaced: NodeId | None = None, timeout_s: float = START_TIMEOUT_S
    ) -> NodeProcess:
        """Starts one more node, which joins the group; returns once it is a full member of it.

        replaced: a member that goes once the new one has its place; returns only then. Raises StartupError.
        """
        self.plan, added = self.plan.with_node(region)
        self.plan.write_file_of(added)
        flags = ["--join", *(["--observer"] if observer else []), *(["--replace", replaced] if replaced else [])]
        process = self.nodes[added.id] = NodeProcess(added, flags)
        process.start()
        role = "observer" if observer else "voter"
        try:
            async with asyncio.timeout(timeout_s):
                while not await self._has_joined(added.id, role, replaced):
                    process.check_alive()
                    await asyncio.sleep(ASK_EVERY_S)
        except TimeoutError:
            tail = process.log_tail()
            raise StartupError(f"{added.id} is no {role} within {timeout_s:g} s; the end of its log:\n{tail}") from None
        return process

    async def _has_joined(self, node_id: NodeId, role: str, replaced: NodeId | None) -> bool:
        """As the new node itself sees it."""
        try:
            status = await self._ask(node_id, ROUND_TIMEOUT_S)
        except ReplicatorError:
            return False
        roles = {member.node_id: member.role for member in status.members}
        return roles.get(node_id) == role and bool(status.leader_id) and replaced not in roles

    async def until_serving(self, timeout_s: float) -> None:
        """Returns once every node that was started answers, and all members name one leader."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self._agree_on_leader(await self.statuses()):
                    for process in self.nodes.values():
                        process.check_alive()
                    await asyncio.sleep(ASK_EVERY_S)
        except TimeoutError:
            raise StartupError(await self._why_not(timeout_s)) from None

    async def leader(self, timeout_s: float = START_TIMEOUT_S) -> NodeId:
        """The node that says that it leads, in the highest term. Raises StartupError if none says so in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    leaders = [status for status in (await self.statuses()).values() if status.role == "leader"]
                    if leaders:
                        return NodeId(max(leaders, key=lambda status: status.term).node_id)
                    await asyncio.sleep(ASK_EVERY_S)
        except TimeoutError:
            raise StartupError(f"no node says within {timeout_s:g} s that it leads") from None

    async def removal_index(self, node_id: NodeId) -> LogIndex | None:
        """Of the newest membership that a running node knows, if that does not name the node; None if it does."""
        others = [status for name, status in (await self.statuses()).items() if name != node_id]
        newest = _newest(others)
        if newest is None or newest.membership_index == 0:
            return None
        is_member = any(member.node_id == node_id for member in newest.members)
        return None if is_member else LogIndex(newest.membership_index)

    async def deaths(self) -> AsyncIterator[NodeProcess]:
        """Every node whose process ends from now on, as it happens; never ends by itself."""
        living = {node_id for node_id, process in self.nodes.items() if process.alive}
        while True:
            for node_id, process in self.nodes.items():
                if process.alive:
                    living.add(node_id)
                elif node_id in living:
                    living.discard(node_id)
                    yield process
            await asyncio.sleep(5 * POLL_S)

    def describe(self) -> dict[str, Any]:
        """What `replicator dev --json` prints. leader: as of the moment when all nodes served."""
        return {
            "nodes": [
                {
                    "id": process.plan.id,
                    "region": process.plan.region,
                    "endpoint": process.plan.api,
                    "admin": process.plan.admin,
                    "pid": process.pid,
                    "data_dir": str(process.plan.data_dir),
                    "config": str(process.plan.config_file),
                }
                for process in self.nodes.values()
            ],
            "leader": self._leader_id,
        }

    def _agree_on_leader(self, statuses: dict[NodeId, NodeStatus]) -> bool:
        """All do but those that the group has removed: they hear of nobody."""
        newest = _newest(statuses.values())
        members = {member.node_id for member in newest.members} if newest is not None else set[str]()
        leaders = {status.leader_id for name, status in statuses.items() if name in members}
        if len(statuses) < len(self.nodes) or len(leaders) != 1 or "" in leaders:
            return False
        self._leader_id = NodeId(leaders.pop())
        return statuses[self._leader_id].role == "leader"

    async def _ask(self, node_id: NodeId, timeout_s: float, *, state_hash: bool = False) -> NodeStatus:
        endpoint = self.nodes[node_id].plan.api
        return await self._client_of(node_id).status(endpoint, state_hash=state_hash, timeout_s=timeout_s)

    def _client_of(self, node_id: NodeId) -> Client:
        if node_id not in self._clients:
            self._clients[node_id] = connect([self.nodes[node_id].plan.api], tls=self._tls)
        return self._clients[node_id]

    async def _why_not(self, timeout_s: float) -> str:
        silent: Sequence[NodeId] = [node_id for node_id in self.nodes if node_id not in await self.statuses()]
        if silent:
            tail = self.nodes[silent[0]].log_tail()
            return (
                f"{', '.join(silent)} did not answer within {timeout_s:g} s; the end of the log of {silent[0]}:\n{tail}"
            )
        return f"the nodes answer, but did not agree on a leader within {timeout_s:g} s; see their logs"

    async def _give_up(self) -> None:
        """The way out of a failure or an interrupt: processes first, since nothing here may be cancelled before."""
        self.kill_now()
        await self._close_clients()

    async def _close_clients(self) -> None:
        clients, self._clients = self._clients, {}
        await asyncio.gather(*(client.close() for client in clients.values()))


def _newest(statuses: Iterable[NodeStatus]) -> NodeStatus | None:
    """Of who has applied the newest membership."""
    return max(statuses, key=lambda status: status.membership_index, default=None)
