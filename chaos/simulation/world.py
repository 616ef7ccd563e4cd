"""A whole cluster in one process: one seed decides everything and replays bit for bit.

Two halves (as in FoundationDB's and TigerBeetle's simulators): while faults rage nothing bad may happen; after the heal
everything good must return within bounded virtual time.
"""

import hashlib
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from chaos.simulation.character import draw
from chaos.simulation.clients import Client
from chaos.simulation.faults import Faults
from chaos.simulation.loop import NodeLoop
from chaos.simulation.network import Network
from chaos.simulation.node import REGIONS, SimNode, voters
from chaos.simulation.operators import Operator
from chaos.simulation.promises import Judge, Violation
from chaos.simulation.promises.frames import kind_of
from chaos.simulation.record import Record
from chaos.simulation.sessions import Session
from chaos.simulation.snapshots import SnapshotWays, held_by
from chaos.simulation.stock_node import StockNode
from chaos.simulation.timeline import CALENDAR_ERRORS, Timeline
from replicator.config.schema import RaftSection
from replicator.config.timing import RaftTiming, resolve_timing
from replicator.core.admission import refusal_of
from replicator.engine.events import Event, LinkUp, Outgoing, Turn
from replicator.engine.settings import EngineSettings
from replicator.model.ids import NodeId
from replicator.model.members import GROUP_SECRET_BYTES
from replicator.storage.log import raft_log

SNAPSHOT_PERIOD_S = 1.0  # a seed is a short life: what happens once in minutes must happen in it
SEGMENT_BYTES = 8 << 10  # and so must what happens once in megabytes


@dataclass(frozen=True, slots=True)
class Scenario:
    """One life of a cluster. The rest of what it is like is drawn from the seed: see character.py.

    engine: guarded, or stock.
    lanes: of a link, 1 or 2: see network.py.
    faulty_s: how long faults rage; None: as long as nine elections may take. mix: of faults; None: drawn too.
    """

    nodes: int = 3
    profile: str = "wan"
    engine: str = "guarded"
    faulty_s: float | None = None
    mix: str | None = None
    lanes: int = 1

    @property
    def timing(self) -> RaftTiming:
        """Timers of all nodes."""
        return resolve_timing(RaftSection.model_validate({"profile": self.profile}))

    @property
    def latency_s(self) -> float:
        """Mean one-way delay of the links that the profile's timers are meant for."""
        return 0.1 if self.profile == "wan" else 0.001


@dataclass(frozen=True, slots=True)
class Verdict:
    """violation: empty if all promises held. mix: what the seed was like. trace: hash of what every node applied."""

    seed: int
    mix: str
    violation: str
    acknowledged: int
    reads: int
    causal_reads: int
    member_changes: int
    virtual_s: float
    trace: str


def simulate(seed: int, scenario: Scenario) -> Verdict:
    """Runs one seed in a temporary directory of its own, in memory where the machine has such a place."""
    memory = Path("/dev/shm")  # a real file system for real LMDB files, without waiting for a disk
    with tempfile.TemporaryDirectory(prefix="replicator-sim-", dir=memory if memory.is_dir() else None) as directory:
        return World(seed, scenario, Path(directory)).run()


@contextmanager
def _small_segments() -> Iterator[None]:
    """Logs are in files of SEGMENT_BYTES, longer only if a turn needs that."""
    names = ("SEGMENT_BYTES_MIN", "SEGMENT_BYTES_MAX", "STEP_BYTES")
    shipped = {name: getattr(raft_log, name) for name in names}
    for name in names:
        setattr(raft_log, name, SEGMENT_BYTES)
    try:
        yield
    finally:
        for name, value in shipped.items():
            setattr(raft_log, name, value)


class World:
    """Nodes, links, clients, faults and the judge. Implements watcher.Watcher."""

    def __init__(self, seed: int, scenario: Scenario, directory: Path) -> None:
        self._seed, self._scenario, self._timing = seed, scenario, scenario.timing
        self._dice = dice = random.Random(seed)
        self._character = draw(dice, self._timing, scenario.mix)
        calendar_error = random.Random(f"calendars of {seed}").choice(CALENDAR_ERRORS)
        self._calendar_error = calendar_error if scenario.engine == "guarded" else 1  # stock's entries carry calendars
        self._timeline, self._directory = Timeline(), directory
        self.cuts: Counter[str] = Counter()  # how often the power failed at which step; see SimNode
        self._loops: list[NodeLoop] = []
        self._judge = Judge(of_guard=scenario.engine == "guarded")
        self._trace = hashlib.blake2b(digest_size=16)
        names = [NodeId(f"n{number}") for number in range(1, scenario.nodes + 1)]
        self._network = Network(
            self._timeline,
            random.Random(dice.random()),
            self._deliver,
            admits=self._admit_each_other,
            latency_s=scenario.latency_s,
            late_frame=self._character.late_frame,
            tail=self._character.tail,
            tail_s_max=self._timing.election_timeout_max_s,
            lanes=scenario.lanes,
        )
        self._places: dict[NodeId, SimNode] = {}  # all that ever existed
        self._nodes: list[SimNode] = []  # those that exist now; shared with all who look at nodes
        for name in names:
            self._add_node(name, names, directory / name)
        self._judge.watch(self._nodes, voters(names))
        self._sessions: list[Session] = []
        self._clients = [self._client() for _ in range(self._character.clients)]
        self._record = self._new_record() if scenario.engine == "guarded" else None  # stock has no tokens
        self._operator = self._hire_operator() if scenario.engine == "guarded" else None
        self._faults = Faults(
            nodes=self._nodes,
            network=self._network,
            timeline=self._timeline,
            dice=random.Random(dice.random()),
            character=self._character,
            timing=self._timing,
            operator=self._operator,
        )

    def run(self) -> Verdict:
        """Faults, then heal, then judgement."""
        violation = ""
        try:
            with _small_segments():
                self._live()
        except Violation as broken:
            violation = str(broken)
        except Exception as error:  # a crash of the shipped code is a violation like any other
            violation = f"{self._timeline.now_s:.3f}s: {type(error).__name__}: {error}"
        finally:
            for node in self._nodes:
                if node.storage is not None:
                    node.storage.close()
            for loop in self._loops:
                loop.close()
        return Verdict(
            seed=self._seed,
            mix=self._character.mix,
            violation=violation,
            acknowledged=len(self._judge.exactly_once.acknowledged),
            reads=self._judge.reads.answers,
            causal_reads=self._judge.causal.answers,
            member_changes=self._operator.changes if self._operator is not None else 0,
            virtual_s=self._timeline.now_s,
            trace=self._trace.hexdigest(),
        )

    def _live(self) -> None:
        election_s = self._timing.election_timeout_max_s
        for node in self._nodes:
            node.start()
        for client in self._clients:
            self._timeline.after(election_s * self._dice.random(), client.next_write)
            self._timeline.after(election_s * self._dice.random(), client.next_read)
            if self._scenario.engine == "guarded":  # stock has no tokens
                self._timeline.after(election_s * self._dice.random(), client.session.next_read)
        if self._record is not None:
            self._record.begin()
        self._timeline.after(election_s, self._faults.strike)
        self._pass(self._scenario.faulty_s or 9 * election_s)
        self._recover(election_s)

    def _recover(self, election_s: float) -> None:
        """Within bounded time every client is answered, and all nodes become alike. Judged as soon as it is so."""
        self._faults.heal_for_good()
        healed_s, answered = self._timeline.now_s, [client.answers for client in self._clients]
        for client in self._clients:
            client.calm = True
        if self._record is not None:
            self._record.calm()

        def all_answered() -> bool:
            return all(client.answers > before for client, before in zip(self._clients, answered, strict=True))

        self._pass_until(all_answered, healed_s + 11 * election_s + 3.0)
        if not all_answered():
            raise Violation(f"{self._timeline.now_s:.3f}s: a client gets no answer, long after the heal")
        if self._operator is not None:
            operator = self._operator
            self._pass_until(lambda: operator.is_idle, healed_s + 16 * election_s + 6.0)
            if not operator.is_idle:
                raise Violation(
                    f"{self._timeline.now_s:.3f}s: a member still waits to be accepted, long after the heal"
                )
            operator.dismiss_strangers()
        self._pass(0.5 * election_s)
        for client in self._clients:
            client.stopped = client.session.stopped = True
        if self._record is not None:
            self._record.end()
        self._pass_until(self._judge.convergence.is_reached, self._timeline.now_s + 3 * election_s + 1.0)
        self._judge.ended()
        if self._record is not None:
            self._record.judged()

    def _pass(self, seconds: float) -> None:
        self._timeline.run_until(self._timeline.now_s + seconds)

    def _pass_until(self, reached: Callable[[], bool], deadline_s: float) -> None:
        while not reached() and self._timeline.now_s < deadline_s:
            self._pass(self._timing.heartbeat_s)

    # watcher.Watcher -----------------------------------------------------------------------------------------------

    def started(self, node: SimNode) -> None:
        """A process begins."""
        self._judge.started(node)

    def took(self, node: SimNode, events: Sequence[Event]) -> None:
        """A turn is about to take these."""
        self._judge.took(node, events)

    def decided(self, node: SimNode, turn: Turn) -> None:
        """What a turn wants made durable."""
        self._judge.decided(node, turn)

    def applied(self, node: SimNode, turn: Turn) -> None:
        """What a turn applies has taken effect."""
        for entry in turn.write.apply:
            self._trace.update(f"{self._timeline.now_s:.9f} {node.node_id} {entry.index} {entry.term}".encode())
        self._judge.applied(node, turn)

    def stored(self, node: SimNode, turn: Turn) -> None:
        """What a turn decided is on disk."""
        self._judge.stored(node, turn)

    def turned(self, node: SimNode, turn: Turn) -> None:  # noqa: ARG002  # what it was is told by `applied`, `stored`
        """A turn is completed."""
        self._judge.turned(node)

    def stopped(self, node: SimNode) -> None:
        """Its engine has ended in order."""
        self._judge.stopped(node)

    def said(self, node: SimNode, frames: Sequence[Outgoing]) -> None:
        """Frames leave."""
        self._judge.said(node, frames)
        for frame in frames:
            if kind_of(frame.payload) == "vote_reply":
                self._faults.voted(node)

    # ---------------------------------------------------------------------------------------------------------------

    def _hire_operator(self) -> Operator:
        return Operator(
            nodes=self._nodes,
            records=self._judge.records,
            timeline=self._timeline,
            dice=random.Random(self._dice.random()),
            recruit=self._recruit,
            dismiss=self._dismiss,
            ask_again_s=0.4 * self._timing.election_timeout_max_s,
        )

    def _recruit(self, name: NodeId) -> SimNode:
        """A node with an empty disk, that belongs to no group yet."""
        before = self._places.get(name)
        generation = before.generation + 1 if before is not None else 0
        node = self._add_node(name, (), self._directory / f"{name}-{generation}")
        node.generation, node.settings = generation, replace(node.settings, joining=True)
        self._judge.replaced(node)
        return node

    def _dismiss(self, node: SimNode) -> None:
        """It never comes back."""
        node.crash()
        node.is_gone = True
        if node in self._nodes:
            self._nodes.remove(node)
            self._judge.records.departed.append(node)

    def _admit_each_other(self, a: NodeId, b: NodeId) -> bool:
        """As transport.circle has it."""
        return self._admits(self._places[a], self._places[b]) and self._admits(self._places[b], self._places[a])

    def _admits(self, node: SimNode, other: SimNode) -> bool:
        own, theirs = node.membership, other.membership
        if not own.members:
            return True  # it takes its contacts at their word
        is_proven = own.secret == theirs.secret  # nodes of the simulation prove what they hold
        refusal = refusal_of(own, other.node_id, other.directory_id, theirs.index, theirs.founder, is_proven=is_proven)
        return refusal is None

    def _add_node(self, name: NodeId, names: Sequence[NodeId], directory: Path) -> SimNode:
        """One that exists from now on, and does not run yet."""
        self._network.add(name)
        node = (SimNode if self._scenario.engine == "guarded" else StockNode)(
            settings=EngineSettings(
                cluster_id="simulated",
                node_id=name,
                membership=voters(names),
                timing=self._timing,
                append_bytes_max=self._character.append_bytes_max,
                log_entries_max=self._character.log_entries_max,
                auto_timing=self._character.auto_timing,
                leader_preference=REGIONS[:1] if self._character.prefers_regions else (),
                snapshot_period_s=SNAPSHOT_PERIOD_S,
                new_secret=lambda: random.Random(f"secret of {name}").randbytes(GROUP_SECRET_BYTES),
            ),
            directory=directory,
            timeline=self._timeline,
            network=self._network,
            dice=random.Random(self._dice.random()),
            watcher=self,
            commit_s=self._character.commit_s,
            flushes=self._character.flushes,
            drift_ppm=self._dice.uniform(-1.0, 1.0) * self._character.drift_ppm_max,
            calendar_error=self._calendar_error,
            cuts=self.cuts,
            loops=self._loops,
        )
        node.ways = SnapshotWays(
            random.Random(self._dice.random()),
            partial(self._snapshot_of, node),
            transfer_s=5 * self._scenario.latency_s,
            power_fails=lambda: self._faults.installing(node),
        )
        self._places[name] = node
        self._nodes.append(node)
        return node

    def _client(self) -> Client:
        name = self._dice.randbytes(16)
        session = Session(
            nodes=self._nodes,
            others=self._sessions,
            timeline=self._timeline,
            dice=random.Random(self._dice.random()),
            judge=self._judge,
            character=self._character,
            name=name,
        )
        self._sessions.append(session)
        return Client(
            client_id=name,
            session=session,
            nodes=self._nodes,
            timeline=self._timeline,
            dice=random.Random(self._dice.random()),
            judge=self._judge,
            character=self._character,
            patience_s=0.4 * self._timing.election_timeout_max_s,
        )

    def _new_record(self) -> Record:
        dice, patience_s = random.Random(self._dice.random()), 0.4 * self._timing.election_timeout_max_s
        return Record(self._nodes, self._timeline, dice, self._judge, self._character, patience_s=patience_s)

    def _deliver(self, node: NodeId, event: Event) -> None:
        if isinstance(event, LinkUp):
            event = event._replace(directory_id=self._places[event.peer].directory_id)
        self._places[node].deliver(event)

    def _snapshot_of(self, asker: SimNode, peer: NodeId, snapshot_id: str) -> Path | None:
        """What a fetch from `peer` brings: nothing, if it is down or cut off."""
        return held_by(self._places[peer], snapshot_id) if self._network.linked(asker.node_id, peer) else None
