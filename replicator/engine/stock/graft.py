"""The one place that reaches into pysyncobj's private names. Everything here is pinned by tests/contract.

Why each name is touched, pysyncobj 0.3.17:
- The module is loaded as a private copy for each engine. Clock, dice, poller and journal are module globals there, so a
  copy is how they are handed in without patching what others share (and how simulated nodes get clocks of their own).
- `pickle` in the copy is replaced by something that refuses: nothing from a peer or a disk is ever unpickled.
- `__connectedToAnyone` is asked once an election deadline has passed: the seam for pre-vote.
- `__sendAppendEntries` counts as sent what was never acknowledged, sends without bound, and cuts large entries by the
  wrong length: replaced by the pump.
- `__getEntries` with a count is how it looks at one entry to commit it, and at those to apply: what is not on this
  node's disk is not shown there. Stock counts a leader as holding what it has only in memory.
- `_checkCommandsToApply` takes one pickled command an entry and forwards pickles: replaced by proposals.
- `__doApplyCommand` unpickles and calls methods: replaced by handing the entry over.
- `__parseChangeClusterRequest` unpickles entries: replaced by "not a membership change".
- `__otherNodes`, `__readonlyNodes` and what is kept of each are set when a membership is applied: stock changes them by
  pickled commands, when they are appended.
- Positions (`__raftNextIndex` and so on) have no public accessor that does not build a whole status dictionary.
"""

import functools
import importlib.metadata
import importlib.util
import random
import zlib
from collections.abc import Callable, Collection, Sequence
from importlib.abc import InspectLoader
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any, Final, NoReturn, Protocol

from pysyncobj.node import Node
from pysyncobj.transport import Transport

from replicator.config.timing import RaftTiming
from replicator.engine.settings import EngineSettings, stock_conf, timer_options
from replicator.engine.stock.journal import TurnJournal
from replicator.model.clock import Clock
from replicator.model.ids import LogIndex, NodeId, Term
from replicator.model.log import Entry

ENGINE_VERSION: Final = "0.3.17"
ROLES: Final = ("follower", "candidate", "leader")  # position = value of pysyncobj's _RAFT_STATE


class EngineHooks(Protocol):
    """What the guard answers while SyncObj ticks. All calls are synchronous and must not raise."""

    def may_campaign(self) -> bool:
        """The election deadline has passed: campaign now?"""
        ...

    def replicate(self) -> None:
        """A heartbeat is due, or followers must hear of a new commit index."""
        ...

    def admit_proposals(self) -> None:
        """New entries may be appended now."""
        ...

    def entry_committed(self, payload: bytes) -> None:
        """The next entry in order is committed."""
        ...

    def outgoing(self, peer: NodeId, message: dict[str, Any]) -> None:
        """SyncObj wants a message sent."""
        ...


class Peer(Node):  # type: ignore[misc]  # pysyncobj has no types
    """A node by name. Hashes by content, so that iteration over sets of peers is the same in every run."""

    def __init__(self, node_id: NodeId) -> None:
        super().__init__(node_id)
        self._hash = zlib.crc32(node_id.encode())

    def __hash__(self) -> int:
        return self._hash


class _Refuses:
    """Stands where pysyncobj expects its pickle module."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        def refuse(*_args: object, **_kwargs: object) -> NoReturn:
            raise AssertionError(f"pysyncobj tried to use pickle.{name}")

        return refuse


class _NoPoller:
    """There are no sockets to poll: messages arrive through the guard."""

    def poll(self, _timeout: float) -> None:
        """Returns at once."""


class _HookTransport(Transport):  # type: ignore[misc]  # pysyncobj has no types
    """Hands every outgoing message to the hooks; incoming ones come through `Graft.receive`."""

    ready = True

    def __init__(self, hooks: EngineHooks) -> None:
        super().__init__(None, None, [])
        self._hooks = hooks

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        self._hooks.outgoing(NodeId(node.id), message)
        return True

    def destroy(self) -> None:
        """Nothing to close."""


@functools.cache
def _stock_code() -> tuple[ModuleSpec, CodeType]:
    """Found and compiled once: a snapshot makes a new engine, and a simulation makes thousands."""
    installed = importlib.metadata.version("pysyncobj")
    assert installed == ENGINE_VERSION, f"the graft fits pysyncobj {ENGINE_VERSION}, not {installed}"
    spec = importlib.util.find_spec("pysyncobj.syncobj")
    assert spec is not None
    assert isinstance(spec.loader, InspectLoader)
    code = spec.loader.get_code(spec.name)
    assert code is not None
    return spec, code


def _private_copy(clock: Clock, dice: random.Random, journal: TurnJournal) -> ModuleType:
    """pysyncobj.syncobj, executed anew, with this engine's surroundings as its globals."""
    spec, code = _stock_code()
    module: Any = importlib.util.module_from_spec(spec)
    exec(code, vars(module))  # noqa: S102  # the installed package's own code, as an import would run it
    for name in ("monotonicTime", "random", "createPoller", "createJournal", "PIPE_NOTIFIER_ENABLED", "pickle"):
        assert hasattr(module, name), f"pysyncobj.syncobj has no global {name} any more"
    module.monotonicTime = clock.monotonic_s
    module.random = dice
    module.createPoller = lambda _kind: _NoPoller()
    module.createJournal = lambda _file: journal
    module.PIPE_NOTIFIER_ENABLED = False  # would open a pipe to wake a poller that is not there
    module.pickle = _Refuses()
    return module  # type: ignore[no-any-return]


def _engine_class(module: Any, hooks: EngineHooks, journal: TurnJournal) -> Any:
    class GuardedSyncObj(module.SyncObj):  # type: ignore[misc]  # pysyncobj has no types
        def _SyncObj__connectedToAnyone(self) -> bool:  # noqa: N802
            return hooks.may_campaign()

        def _SyncObj__sendAppendEntries(self) -> None:  # noqa: N802
            hooks.replicate()

        def _SyncObj__getEntries(  # noqa: N802
            self, first: int | None, count: int | None = None, bytes_max: int | None = None
        ) -> Sequence[Entry]:
            if first is not None and count is not None:
                count = min(count, journal.durable_index + 1 - first)
                if count <= 0:
                    return ()
            return super()._SyncObj__getEntries(first, count, bytes_max)  # type: ignore[no-any-return]

        def _SyncObj__doApplyCommand(self, command: bytes) -> None:  # noqa: N802
            hooks.entry_committed(command)

        def _SyncObj__parseChangeClusterRequest(self, _command: bytes) -> None:  # noqa: N802
            return None

        def _checkCommandsToApply(self) -> None:  # noqa: N802
            hooks.admit_proposals()

    return GuardedSyncObj


class Graft:
    """One SyncObj and typed access to what the guard must see and set."""

    def __init__(
        self,
        settings: EngineSettings,
        *,
        journal: TurnJournal,
        applied_index: LogIndex,
        clock: Clock,
        dice: random.Random,
        hooks: EngineHooks,
    ) -> None:
        self._peers: dict[NodeId, Peer] = {}
        self._transport = _HookTransport(hooks)
        self._clock, self._journal = clock, journal
        self._is_leader_lost = False
        self._engine: Any = _engine_class(_private_copy(clock, dice, journal), hooks, journal)(
            Peer(settings.node_id), [], stock_conf(settings), transport=self._transport
        )
        # Fault 10: SyncObj replays from entry 1; the store already holds everything up to its applied index.
        self._engine._SyncObj__raftLastApplied = applied_index
        assert applied_index <= journal.hard_state.commit_index <= journal.last_index

    def set_members(
        self, voters: Collection[NodeId], replicas: Collection[NodeId], anew: Collection[NodeId] = ()
    ) -> None:
        """Who counts besides this node, and who only replicates. Those that stay keep their positions.

        anew: those whose name stays and whose disk is another: nothing that was acknowledged under the name holds.
        """
        engine, now_s = self._engine, self._clock.monotonic_s()
        counted = [self._peer(node_id) for node_id in sorted(voters)]
        others = [self._peer(node_id) for node_id in sorted(replicas)]
        before = engine._SyncObj__otherNodes
        engine._SyncObj__otherNodes, engine._SyncObj__readonlyNodes = set(counted), set(others)
        following, matches = engine._SyncObj__raftNextIndex, engine._SyncObj__raftMatchIndex
        answers = engine._SyncObj__lastResponseTime
        begun = {self._peer(node_id) for node_id in anew}
        for gone in [node for node in following if node in begun or node not in {*counted, *others}]:
            del following[gone], matches[gone]
            answers.pop(gone, None)
        for node in (*counted, *others):
            if node not in following:
                following[node], matches[node] = self._journal.last_index + 1, 0
        for node in counted:  # a leader steps down when most voters are silent: the time of new ones begins now
            if node not in before or node not in answers:
                answers[node] = now_s

    def step_down(self) -> None:
        """Ends leadership at once: the node is no voter any more."""
        self._engine._SyncObj__setState(ROLES.index("follower"))
        self._engine._SyncObj__raftLeader = None

    def set_timing(self, timing: RaftTiming) -> None:
        """Timers from now on. SyncObj reads its settings each time anew; a deadline that runs was drawn before."""
        for option, value in timer_options(timing).items():
            setattr(self._engine.conf, option, value)

    def tick(self) -> None:
        """One tick of SyncObj, never waiting."""
        self._engine.doTick(0.0)

    def receive(self, peer: NodeId, message: dict[str, Any]) -> None:
        """Delivers a message that the guard has made safe."""
        self._transport._onMessageReceived(self._peer(peer), message)

    def link_up(self, peer: NodeId) -> None:
        """The peer can be reached."""
        self._transport._onNodeConnected(self._peer(peer))

    def link_down(self, peer: NodeId) -> None:
        """The peer cannot be reached."""
        self._transport._onNodeDisconnected(self._peer(peer))

    def transfer_to(self, peer: NodeId) -> None:
        """Asks a fully caught-up peer to campaign at once (Ongaro 2014, 3.10)."""
        self._engine.transferLeadership(self._peer(peer))

    def _peer(self, node_id: NodeId) -> Peer:
        """Links come up before a membership is known, so any name may be met."""
        if node_id not in self._peers:
            self._peers[node_id] = Peer(node_id)
        return self._peers[node_id]

    @property
    def role(self) -> str:
        """One of ROLES."""
        return ROLES[self._engine._SyncObj__raftState]

    @property
    def is_leader(self) -> bool:
        """In this node's opinion; another node may have been elected since."""
        return bool(self._engine._isLeader())

    @property
    def term(self) -> Term:
        """Current term."""
        return Term(self._engine.raftCurrentTerm)

    @property
    def commit_index(self) -> LogIndex:
        """Highest index known to be committed."""
        return LogIndex(self._engine.raftCommitIndex)

    @property
    def last_applied(self) -> LogIndex:
        """Highest index handed over for apply."""
        return LogIndex(self._engine.raftLastApplied)

    @property
    def leader(self) -> NodeId | None:
        """The leader of the current term, if this node has heard from one."""
        node = self._engine._getLeader()
        return NodeId(node.id) if node is not None else None

    @property
    def leader_in_sight(self) -> NodeId | None:
        """The leader, unless it is another node from which nothing was received for an election timeout."""
        return None if self._is_leader_lost else self.leader

    def look_for_leader(self) -> None:
        """Called in each turn after all messages are taken; before, a heartbeat may still wait in the inbox."""
        self._is_leader_lost = not self.is_leader and self._clock.monotonic_s() > self.election_deadline_s

    def hears_nobody(self) -> None:
        """What peers send is lost, until the next turn."""
        self._is_leader_lost = not self.is_leader

    @property
    def transfer_in_progress(self) -> bool:
        """The leader has asked this node to campaign."""
        return bool(self._engine._SyncObj__transferInProgress)

    def forget_transfer(self) -> None:
        """The term in which the leader asked is over. Stock keeps the request, and ignores later heartbeats."""
        self._engine._SyncObj__transferInProgress = False

    @property
    def election_deadline_s(self) -> float:
        """When this node will want to campaign, by its monotonic clock."""
        return float(self._engine._SyncObj__raftElectionDeadline)

    @property
    def heartbeat_due_s(self) -> float:
        """When a leader must send the next append, by its monotonic clock."""
        return float(self._engine._SyncObj__newAppendEntriesTime)

    @heartbeat_due_s.setter
    def heartbeat_due_s(self, due_s: float) -> None:
        self._engine._SyncObj__newAppendEntriesTime = due_s

    def next_index(self, peer: NodeId) -> LogIndex:
        """First index that the peer has not been sent."""
        return LogIndex(self._engine._SyncObj__raftNextIndex[self._peer(peer)])

    def set_next_index(self, peer: NodeId, index: LogIndex) -> None:
        """Moves what the peer is sent next."""
        assert index > self.match_index(peer), "what a peer has acknowledged is never sent again"
        self._engine._SyncObj__raftNextIndex[self._peer(peer)] = index

    def forget_match(self, peer: NodeId, index: LogIndex) -> None:
        """The peer holds no more than `index`, whatever it acknowledged before. What is committed stays committed."""
        self._engine._SyncObj__raftMatchIndex[self._peer(peer)] = index

    def match_index(self, peer: NodeId) -> LogIndex:
        """Highest index that the peer has acknowledged in this term; leader only."""
        return LogIndex(self._engine._SyncObj__raftMatchIndex[self._peer(peer)])
