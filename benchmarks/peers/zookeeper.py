"""ZooKeeper: an ensemble of three, transaction logs synced before an answer, as it does by default.

Needs Debian's `zookeeper` and the extra `bench` (client: kazoo, which runs threads of its own).
"""

import asyncio
import importlib.util
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.compare.pair import Opponents
from benchmarks.compare.sides import PythonSide
from benchmarks.compare.task import Task
from benchmarks.keys import key_of
from benchmarks.load import each
from benchmarks.member_process import MemberProcess, running
from benchmarks.subjects import CALL_TIMEOUT_S, check_round_trip
from replicator.dev import free_ports

NAME: Final = "ZooKeeper (Python)"
NODES: Final = 3
START_TIMEOUT_S: Final = 60.0
ASK_EVERY_S: Final = 0.2
INSTALL: Final = "not installed: Debian's zookeeper, and pip install -r requirements-bench.lock"
_JAR: Final = Path("/usr/share/java/zookeeper.jar")
_LOGGING: Final = Path("/usr/share/java/slf4j-nop.jar")
_ROOT: Final = "/bench"
_CREATE_CALLERS: Final = 256

_CONFIG: Final = """
tickTime=500
initLimit=20
syncLimit=10
dataDir={data}
clientPort={client_port}
clientPortAddress=127.0.0.1
maxClientCnxns=0
admin.enableServer=false
forceSync=yes
4lw.commands.whitelist=srvr
{servers}
"""


class ZooKeeperSubject:
    """local: what the connected server holds. linearizable: the same after `sync`."""

    name = NAME

    def __init__(self, client: Any, server_pids: tuple[int, ...]) -> None:
        self._client = client
        self.server_pids = server_pids

    async def put(self, key: bytes, value: bytes) -> None:
        """Creates the node if it is absent."""
        from kazoo.exceptions import NodeExistsError, NoNodeError

        path = f"{_ROOT}/{key.decode()}"
        try:
            await self._done(self._client.set_async, path, value)
        except NoNodeError:
            try:
                await self._done(self._client.create_async, path, value)
            except NodeExistsError:
                await self._done(self._client.set_async, path, value)

    async def get_local(self, key: bytes) -> bytes | None:
        """None if the node is absent."""
        from kazoo.exceptions import NoNodeError

        try:
            value, _ = await self._done(self._client.get_async, f"{_ROOT}/{key.decode()}")
        except NoNodeError:
            return None
        found: bytes = value
        return found

    async def get_linearizable(self, key: bytes) -> bytes | None:
        """Sent in one go: a server answers one session's calls in order."""
        _, value = await asyncio.gather(
            self._done(self._client.sync_async, f"{_ROOT}/{key.decode()}"), self.get_local(key)
        )
        return value

    async def _done(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Kazoo answers on a thread of its own."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def settle(result: Any) -> None:
            if future.done():
                return
            if result.exception is None:
                future.set_result(result.value)
            else:
                future.set_exception(result.exception)

        call(*arguments).rawlink(lambda result: loop.call_soon_threadsafe(settle, result))
        async with asyncio.timeout(CALL_TIMEOUT_S):
            return await future


@asynccontextmanager
async def zookeeper_opponents(folder: Path, task: Task) -> AsyncIterator[Opponents]:
    """Without server or client: shown as not measured. Every node that puts draw from is created first."""
    if importlib.util.find_spec("kazoo") is None or shutil.which("java") is None or not _JAR.exists():
        yield Opponents({}, missing={NAME: INSTALL})
        return
    from kazoo.client import KazooClient

    ports = free_ports(3 * NODES)
    members = [_member(folder, number, ports) for number in range(NODES)]
    with running(members):
        await _until_quorum(ports[:NODES], members)
        client = KazooClient(hosts=",".join(f"127.0.0.1:{port}" for port in ports[:NODES]), timeout=CALL_TIMEOUT_S)
        await asyncio.to_thread(client.start, START_TIMEOUT_S)
        pids = tuple(member.pid for member in members)

        async def roles() -> Mapping[str, tuple[int, ...]]:
            return {"servers": pids}

        try:
            await asyncio.to_thread(client.ensure_path, _ROOT)
            subject = ZooKeeperSubject(client, pids)
            await check_round_trip(subject)
            task.say(f"  {NAME}: creating {task.scope.put_keys:,} nodes")
            await each(lambda number: subject.put(key_of(number), b""), task.scope.put_keys, _CREATE_CALLERS)
            yield Opponents({NAME: PythonSide(NAME, subject, roles)}, {NAME: subject})
        finally:
            await asyncio.to_thread(client.stop)
            await asyncio.to_thread(client.close)


def _member(folder: Path, number: int, ports: list[int]) -> MemberProcess:
    own = folder / f"zookeeper-{number}"
    data = own / "data"
    data.mkdir(parents=True)
    (data / "myid").write_text(str(number + 1))
    servers = "\n".join(f"server.{n + 1}=127.0.0.1:{ports[NODES + n]}:{ports[2 * NODES + n]}" for n in range(NODES))
    config = own / "zoo.cfg"
    config.write_text(_CONFIG.format(data=data, client_port=ports[number], servers=servers))
    arguments = [
        "java", "-Xmx512m", "-cp", f"{_JAR}:{_LOGGING}", "org.apache.zookeeper.server.quorum.QuorumPeerMain",
        str(config),
    ]  # fmt: skip
    return MemberProcess(f"zookeeper-{number}", arguments, own / "log")


async def _until_quorum(ports: list[int], members: list[MemberProcess]) -> None:
    """Raises RuntimeError."""
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while not all([await asyncio.to_thread(_serves, port) for port in ports]):
                for member in members:
                    member.check_alive()
                await asyncio.sleep(ASK_EVERY_S)
    except TimeoutError:
        raise RuntimeError(f"ZooKeeper had no quorum within {START_TIMEOUT_S:g} s") from None


def _serves(port: int) -> bool:
    """True once the server follows or leads."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0) as connection:
            connection.sendall(b"srvr")
            said = b"".join(iter(lambda: connection.recv(4096), b""))
    except OSError:
        return False
    return b"Mode: leader" in said or b"Mode: follower" in said
