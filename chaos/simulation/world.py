"""A whole cluster in one process: one seed decides everything and replays bit for bit.

Two halves (as in FoundationDB's and TigerBeetle's simulators): while faults rage nothing bad may happen; after the heal
everything good must return within bounded virtual time.
"""

import hashlib
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from chaos.simulation.clients import Client
from chaos.simulation.network import Network
from chaos.simulation.node import SimNode
from chaos.simulation.promises import Promises
from chaos.simulation.snapshots import SnapshotExchange, held_by
from chaos.simulation.timeline import Timeline
from chaos.simulation.violation import Violation
from replicator.config.schema import RaftSection
from replicator.config.timing import resolve_timing
from replicator.engine.replica import Turn
from replicator.engine.settings import EngineSettings
from replicator.model.ids import NodeId

HEAL_S = 30.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One life of a cluster. latency_s: mean one-way delay of a link."""

    nodes: int = 3
    profile: str = "wan"
    faulty_s: float = 40.0
    clients: int = 4
    value_bytes_max: int = 40_000
    fault_rate_hz: float = 1.2

    @property
    def latency_s(self) -> float:
        """Of the links that the profile's timers are meant for."""
        return 0.1 if self.profile == "wan" else 0.001


@dataclass(frozen=True, slots=True)
class Verdict:
    """violation: empty if all promises held. trace: hash of everything that every node applied and answered."""

    seed: int
    violation: str
    acknowledged: int
    reads: int
    virtual_s: float
    trace: str


def simulate(seed: int, scenario: Scenario) -> Verdict:
    """Runs one seed in a temporary directory of its own, in memory where the machine has such a place."""
    memory = Path("/dev/shm")  # a real file system for real LMDB files, without waiting for a disk
    with tempfile.TemporaryDirectory(prefix="replicator-sim-", dir=memory if memory.is_dir() else None) as directory:
        return World(seed, scenario, Path(directory)).run()


class World:
    """Nodes, links, clients and the fault that comes next."""

    def __init__(self, seed: int, scenario: Scenario, directory: Path) -> None:
        self._seed, self._scenario = seed, scenario
        self._dice = dice = random.Random(seed)
        self._timeline = Timeline()
        self._promises = Promises()
        self._trace = hashlib.blake2b(digest_size=16)
        names = [NodeId(f"n{number}") for number in range(1, scenario.nodes + 1)]
        self._network = Network(
            names, self._timeline, random.Random(dice.random()), self._deliver, latency_s=scenario.latency_s
        )
        timing = resolve_timing(RaftSection.model_validate({"profile": scenario.profile}))
        log_entries_max = dice.choice((4, 40, 100_000))  # from constant compaction to none
        self._nodes = [
            SimNode(
                settings=EngineSettings(
                    cluster_id="simulated",
                    node_id=name,
                    peers=tuple(n for n in names if n != name),
                    timing=timing,
                    log_entries_max=log_entries_max,
                ),
                directory=directory / name,
                timeline=self._timeline,
                network=self._network,
                dice=random.Random(dice.random()),
                after_turn=self._after_turn,
                commit_s=0.002,
            )
            for name in names
        ]
        self._promises.raft.nodes = self._nodes
        for node in self._nodes:
            node.exchange = SnapshotExchange(
                node, random.Random(dice.random()), partial(self._snapshot_of, node), transfer_s=5 * scenario.latency_s
            )
        self._clients = [
            Client(
                client_id=dice.randbytes(16),
                nodes=self._nodes,
                timeline=self._timeline,
                dice=random.Random(dice.random()),
                promises=self._promises,
                value_bytes_max=scenario.value_bytes_max,
            )
            for _ in range(scenario.clients)
        ]
        self._faults_on = True

    def run(self) -> Verdict:
        """Faults, then heal, then judgement."""
        violation = ""
        try:
            self._live()
        except Violation as broken:
            violation = str(broken)
        except Exception as error:  # a crash of the shipped code is a violation like any other
            violation = f"{self._timeline.now_s:.3f}s: {type(error).__name__}: {error}"
        finally:
            for node in self._nodes:
                if node.storage is not None:
                    node.storage.close()
        return Verdict(
            seed=self._seed,
            violation=violation,
            acknowledged=len(self._promises.acknowledged),
            reads=sum(client.reads for client in self._clients),
            virtual_s=self._timeline.now_s,
            trace=self._trace.hexdigest(),
        )

    def _live(self) -> None:
        for node in self._nodes:
            node.start()
        for client in self._clients:
            self._timeline.after(1.0 + self._dice.random(), client.next_write)
            client.next_read(0.1)
        self._timeline.after(3.0, self._next_fault)
        self._timeline.run_until(self._scenario.faulty_s)
        self._heal_everything()
        self._timeline.run_until(self._scenario.faulty_s + HEAL_S)
        before = len(self._promises.acknowledged)
        self._timeline.run_until(self._scenario.faulty_s + HEAL_S + 10.0)
        if len(self._promises.acknowledged) == before:
            raise Violation(f"no write was acknowledged in the 10 s that began {HEAL_S} s after the heal")
        for client in self._clients:
            client.stopped = True
        self._timeline.run_until(self._timeline.now_s + 10.0)
        self._promises.at_the_end(self._nodes)

    def _deliver(self, node: NodeId, event: object) -> None:
        next(n for n in self._nodes if n.node_id == node).deliver(event)  # type: ignore[arg-type]

    def _snapshot_of(self, asker: SimNode, peer: NodeId, snapshot_id: str) -> Path | None:
        """What a fetch from `peer` brings: nothing, if it is down or cut off."""
        source = next(node for node in self._nodes if node.node_id == peer)
        return held_by(source, snapshot_id) if self._network.linked(asker.node_id, peer) else None

    def _after_turn(self, node: SimNode, turn: Turn) -> None:
        self._promises.after_turn(node, turn)
        for entry in turn.write.apply:
            self._trace.update(f"{self._timeline.now_s:.9f} {node.node_id} {entry.index} {entry.term}".encode())

    # Faults --------------------------------------------------------------------------------------------------------

    def _next_fault(self) -> None:
        if not self._faults_on:
            return
        self._timeline.after(self._dice.expovariate(self._scenario.fault_rate_hz), self._next_fault)
        of_nodes: list[tuple[float, Callable[[], None]]] = [
            (1.0, self._crash), (0.3, self._crash_all), (0.7, self._pause), (0.5, self._transfer),
        ]  # fmt: skip
        of_links: list[tuple[float, Callable[[], None]]] = [
            (3.0, self._reset_link), (1.5, self._cut_link), (1.0, self._isolate), (1.0, self._isolate_leader),
            (1.0, self._stall), (4.0, self._heal_some), (0.3, self._ring),
        ]  # fmt: skip
        faults = [*of_nodes, *(of_links if self._network.pairs else ())]
        self._dice.choices([fault for _, fault in faults], [weight for weight, _ in faults])[0]()

    def _reset_link(self) -> None:
        self._network.reset(*self._dice.choice(self._network.pairs))

    def _cut_link(self) -> None:
        self._network.block(*self._dice.choice(self._network.pairs))

    def _isolate(self) -> None:
        victim = self._dice.choice(self._nodes).node_id
        for a, b in self._network.pairs:
            if victim in (a, b):
                self._network.block(a, b)

    def _isolate_leader(self) -> None:
        """The fault that a stale leader answers wrongly after."""
        for node in self._nodes:
            if node.replica is not None and node.replica.graft.is_leader:
                for a, b in self._network.pairs:
                    if node.node_id in (a, b):
                        self._network.block(a, b)

    def _ring(self) -> None:
        """Each node sees only its neighbours: majorities overlap, and none sees all."""
        names = [node.node_id for node in self._nodes]
        self._dice.shuffle(names)
        neighbours = {(names[i], names[(i + 1) % len(names)]) for i in range(len(names))}
        for a, b in self._network.pairs:
            if (a, b) not in neighbours and (b, a) not in neighbours:
                self._network.block(a, b)

    def _stall(self) -> None:
        sender, receiver = self._dice.choice(self._network.pairs)
        if self._dice.random() < 0.5:
            sender, receiver = receiver, sender
        self._network.stall(sender, receiver)
        end = self._network.heal if self._dice.random() < 0.5 else self._network.reset
        self._timeline.after(self._dice.random() * 8.0, lambda: end(sender, receiver))
        self._timeline.after(8.0, lambda: self._network.heal(sender, receiver))

    def _heal_some(self) -> None:
        for pair in self._network.pairs:
            if self._dice.random() < 0.7:
                self._network.heal(*pair)

    def _crash(self) -> None:
        self._crash_and_restart(self._dice.choice(self._nodes))

    def _crash_all(self) -> None:
        for node in self._nodes:
            self._crash_and_restart(node)

    def _crash_and_restart(self, node: SimNode) -> None:
        if node.replica is not None:
            node.crash()
            self._timeline.after(
                0.05 + self._dice.expovariate(0.5), lambda: node.start() if node.replica is None else None
            )

    def _pause(self) -> None:
        node = self._dice.choice(self._nodes)
        node.paused_until_s = self._timeline.now_s + 1.0 + 9.0 * self._dice.random()

    def _transfer(self) -> None:
        for node in self._nodes:
            if node.replica is not None and node.replica.graft.is_leader:
                node.replica.transfers.begin(None, 2.0)
                node.wake()

    def _heal_everything(self) -> None:
        self._faults_on = False
        for pair in self._network.pairs:
            self._network.heal(*pair)
        for node in self._nodes:
            node.paused_until_s = 0.0
            if node.replica is None:
                node.start()
