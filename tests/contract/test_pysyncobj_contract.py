"""What the engine relies on in pysyncobj 0.3.17, and the faults that it cures. An upgrade speaks here first.

Each test asks the stock class. One that fails after an upgrade says which part of graft.py, guard.py or docs/raft.md
is to be thought through again; nothing here is to be adjusted without that.
"""

import hashlib
import importlib.metadata
import inspect
import pickle
import re
from pathlib import Path
from typing import Any

import pysyncobj
import pytest
from pysyncobj import FAIL_REASON, SyncObjConf, syncobj
from pysyncobj.journal import Journal
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from replicator.engine.settings import stock_conf
from replicator.engine.stock import graft as graft_module
from replicator.engine.stock.graft import ENGINE_VERSION, ROLES, Peer
from replicator.engine.stock.journal import TurnJournal
from replicator.machine.codec import NO_OP_PAYLOAD, REGULAR_PREFIX
from tests.support.members import voters
from tests.support.replicas import NAMES, HandNode, hand_settings
from tests.support.stock import NO_OP, TIMING, B, C, StockNode

SOURCE_SHA256 = {
    "syncobj.py": "e8bdf06797085d734df86e24ab4802fe87893dff77268565ec036f7ad4a1cfe4",
    "journal.py": "9cf1eaf6acc704581a4cf7d3de330a404403913107adc91c929778b7e3f35edf",
    "config.py": "fbbc7ff9f18e4d15a7fd563376e42f5bd192956879d4b810b056d5248b955698",
    "node.py": "e4a3f027cd8291f558334bb9c977e952f6b6989e7e1fa1588d3005ef0b990e2c",
    "transport.py": "0c9d89f9c4781ec9772df8011d7975a1a4a1a5f541357e12eae85a813e92b50b",
}


def source_of(name: str) -> str:
    return inspect.getsource(getattr(syncobj.SyncObj, name))


def globals_of(node: HandNode) -> dict[str, Any]:
    """Of the private copy of the module that a node's engine runs."""
    tick = node.replica.graft._engine.doTick
    return tick.__func__.__globals__  # type: ignore[no-any-return]


# The very code ------------------------------------------------------------------------------------------------------


def test_it_is_the_version_that_was_read() -> None:
    assert importlib.metadata.version("pysyncobj") == ENGINE_VERSION == "0.3.17"


@pytest.mark.parametrize("name", SOURCE_SHA256)
def test_it_is_the_source_that_was_read(name: str) -> None:
    """A version number can be given twice; a digest cannot."""
    file = Path(pysyncobj.__file__).parent / name
    assert hashlib.sha256(file.read_bytes()).hexdigest() == SOURCE_SHA256[name]


def test_every_private_name_that_the_graft_touches_exists_in_the_stock_class(monkeypatch: pytest.MonkeyPatch) -> None:
    touched = set(re.findall(r"_SyncObj__\w+", inspect.getsource(graft_module)))
    stock = StockNode(monkeypatch).lead().engine
    missing = [name for name in touched if not hasattr(stock, name)]

    assert len(touched) >= 10
    assert missing == []


def test_overridden_methods_are_called_by_their_mangled_names() -> None:
    """So a subclass that defines the mangled name is asked instead."""
    tick, apply = source_of("_onTick"), source_of("_SyncObj__applyLogEntries")
    assert "self.__connectedToAnyone()" in tick
    assert "self.__sendAppendEntries()" in tick
    assert "self._checkCommandsToApply()" in tick
    assert "self.__doApplyCommand(entry[0])" in apply
    assert "self.__getEntries(commitIdx, 1)" in tick
    assert "self.__getEntries(self.__raftLastApplied + 1, count)" in apply


@pytest.mark.parametrize("name", ["monotonicTime", "random", "createPoller", "createJournal", "PIPE_NOTIFIER_ENABLED",
                                  "pickle"])  # fmt: skip
def test_its_surroundings_are_globals_of_its_module(name: str) -> None:
    """A private copy of the module gets a clock, dice and a journal of its own."""
    assert hasattr(syncobj, name)


def test_time_and_chance_come_from_those_globals_only() -> None:
    """`time` is used for sleeping where no transport is ready, or in the thread that we do not start."""
    source = inspect.getsource(syncobj)
    assert set(re.findall(r"\btime\.(\w+)\(", source)) == {"sleep"}
    assert set(re.findall(r"\brandom\.(\w+)\(", source)) == {"random"}


def test_roles_are_numbered_as_we_name_them() -> None:
    states = syncobj._RAFT_STATE
    assert [ROLES[state] for state in (states.FOLLOWER, states.CANDIDATE, states.LEADER)] == list(ROLES)


def test_payload_kinds_are_its_command_types() -> None:
    kinds = syncobj._COMMAND_TYPE
    assert bytes((kinds.REGULAR,)) == REGULAR_PREFIX
    assert bytes((kinds.NO_OP,)) == NO_OP_PAYLOAD


def test_a_transport_is_called_back_by_these_names() -> None:
    bench = Transport(None, None, [])
    for name in ("_onMessageReceived", "_onNodeConnected", "_onNodeDisconnected"):
        assert callable(getattr(bench, name))


def test_nodes_are_equal_by_id_and_ours_hash_alike_in_every_run() -> None:
    """Sets of peers are iterated in the same order then."""
    assert Peer(NAMES[0]) == Node(NAMES[0])
    assert hash(Peer(NAMES[0])) == hash(Peer(NAMES[0])) == 3950597356


def test_our_journal_answers_everything_that_the_stock_one_is_asked() -> None:
    asked = {name for name, _ in inspect.getmembers(Journal, inspect.isfunction)}
    assert all(
        getattr(TurnJournal, name) is not getattr(Journal, name) for name in asked - {"__init__", "onOneSecondTimer"}
    )


# Configuration ------------------------------------------------------------------------------------------------------


def test_a_misspelt_option_is_accepted_in_silence() -> None:
    """So settings.py checks every name itself."""
    SyncObjConf(raftMinTimeuot=1.0).validate()


def test_our_options_exist_and_pass_its_own_check() -> None:
    settings = hand_settings(NAMES[0], voters(*NAMES[:3]))
    conf = stock_conf(settings)
    conf.validate()

    assert (conf.autoTick, conf.dynamicMembershipChange, conf.useFork, conf.fullDumpFile) == (False, False, False, None)
    with pytest.raises(AssertionError, match="no option"):
        stock_conf(settings, noSuchOption=1)


def test_a_manual_tick_never_waits() -> None:
    assert "self._poller.poll(timeToWait)" in source_of("_onTick")
    assert "self._onTick(timeToWait)" in source_of("doTick")


# Elections ----------------------------------------------------------------------------------------------------------


def test_whether_anybody_is_connected_is_asked_only_after_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which makes it the seam for pre-vote: a no costs nothing, and it is asked again at the next tick."""
    asked: list[bool] = []

    def not_yet(_self: Any) -> bool:
        asked.append(True)
        return False

    node = StockNode(monkeypatch, overrides={"_SyncObj__connectedToAnyone": not_yet})
    node.tick(TIMING["raftMinTimeout"] - 0.01)
    assert asked == []
    node.tick(TIMING["raftMaxTimeout"])
    node.tick()

    assert len(asked) == 2
    assert (node.engine.raftCurrentTerm, node.wire.sent) == (0, [])


def test_a_yes_raises_the_term_votes_for_itself_and_asks_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    node = StockNode(monkeypatch, overrides={"_SyncObj__connectedToAnyone": lambda _self: True})
    node.tick(1.0)

    assert ("setCurrentTerm", (1, "a")) in node.journal.calls
    assert len(node.wire.of("request_vote")) == 2


def test_votes_are_counted_by_message_not_by_voter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard counts voters."""
    peers = (B, C, Node("d"), Node("e"))
    node = StockNode(monkeypatch, peers)
    node.wire._onNodeConnected(B)
    node.tick(1.0)
    for _ in range(2):
        node.hear(B, type="response_vote", term=1)

    assert node.engine._isLeader()


def test_there_is_no_pre_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 4: a node that reaches anybody raises the term, whichever node leads."""
    node = StockNode(monkeypatch)
    node.wire._onNodeConnected(B)
    for _ in range(5):
        node.tick(1.0)

    assert node.engine.raftCurrentTerm == 5


def test_a_vote_is_recorded_before_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal hears of it in the same call, so it is in the write of the same turn."""
    node = StockNode(monkeypatch)
    order: list[str] = []
    monkeypatch.setattr(node.journal, "setCurrentTerm", lambda _term, vote: order.append(f"vote {vote}"))
    monkeypatch.setattr(node.wire, "send", lambda _node, message: order.append(message["type"]))
    node.hear(B, type="request_vote", term=3, last_log_index=1, last_log_term=0)

    assert order == ["vote None", "vote b", "response_vote"]


def test_a_request_with_an_impossible_log_raises_the_term_and_gets_no_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    """The door through which the guard adopts a newer term; it also makes a leader step down."""
    node = StockNode(monkeypatch).lead()
    sent = node.hear(C, type="request_vote", term=9, last_log_index=-1, last_log_term=-1)

    assert sent == []
    assert (node.engine.raftCurrentTerm, node.engine._isLeader(), node.engine._getLeader()) == (9, False, None)
    assert node.journal.getVotedForNodeId() is None


def test_the_deadline_is_not_renewed_by_stepping_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deposed leader may campaign at its next tick: pre-vote is what keeps it from doing so."""
    node = StockNode(monkeypatch).lead()
    node.tick(5.0)
    node.hear(C, type="request_vote", term=9, last_log_index=-1, last_log_term=-1)

    assert node.private("raftElectionDeadline") < node.now_s


def test_a_new_leader_forgets_what_was_acknowledged_and_appends_a_no_op(monkeypatch: pytest.MonkeyPatch) -> None:
    node = StockNode(monkeypatch).lead()

    assert node.private("raftMatchIndex") == {B: 0, C: 0}
    assert node.journal[-1] == (NO_OP, 2, 1)
    assert len(node.wire.of("append_entries", to=B)) == 1


def test_a_leader_without_a_majority_steps_down_in_its_own_term(monkeypatch: pytest.MonkeyPatch) -> None:
    node = StockNode(monkeypatch, leaderFallbackTimeout=0.5).lead()
    node.tick(0.6)

    assert (node.engine._isLeader(), node.engine._getLeader(), node.engine.raftCurrentTerm) == (False, None, 1)


# Transfer -----------------------------------------------------------------------------------------------------------


def test_a_request_to_campaign_counts_only_from_the_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    node = StockNode(monkeypatch)
    node.append(prev=(1, 0), term=1)
    node.hear(C, type="timeout_now", term=1)
    assert not node.private("transferInProgress")
    node.hear(B, type="timeout_now", term=1)

    assert node.private("transferInProgress")
    assert node.private("raftElectionDeadline") == 0


def test_the_request_to_campaign_outlives_its_term_and_mutes_the_next_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard forgets it with the term."""
    node = StockNode(monkeypatch)
    node.append(prev=(1, 0), term=1)
    node.hear(B, type="timeout_now", term=1)
    node.hear(C, type="request_vote", term=2, last_log_index=1, last_log_term=0)
    deadline_s = node.private("raftElectionDeadline")
    node.now_s += 0.1
    node.hear(C, type="append_entries", term=2, commit_index=1, entries=[], prevLogIdx=1, prevLogTerm=0)

    assert node.private("raftElectionDeadline") == deadline_s


def test_leadership_goes_only_to_who_holds_the_whole_log(monkeypatch: pytest.MonkeyPatch) -> None:
    node = StockNode(monkeypatch).lead()
    node.engine.transferLeadership(B)
    assert node.wire.of("timeout_now") == []
    node.hear(B, type="next_node_idx", next_node_idx=3, success=True, reset=False)
    node.engine.transferLeadership(B)

    assert node.wire.of("timeout_now", to=B) == [{"type": "timeout_now", "term": 1}]


# Applying -----------------------------------------------------------------------------------------------------------


def a_leader_with(node: StockNode, *values: str) -> StockNode:
    node.lead()
    for value in values:
        node.engine.put(value)
    node.tick(0.2)
    node.hear(B, type="next_node_idx", next_node_idx=3 + len(values), success=True, reset=False)
    return node


def test_an_apply_that_raises_is_repeated_for_ever_and_blocks_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fault 13: so ours never raises."""
    node = a_leader_with(StockNode(monkeypatch), "raise", "after")
    for _ in range(5):
        with pytest.raises(ValueError, match="raise"):
            node.tick(0.1)

    assert node.applied == ["raise"] * 5


def test_entries_are_handed_over_while_the_position_is_still_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which is how the replica knows which entry it is handed."""
    seen: list[tuple[int, bytes]] = []

    def hand_over(self: Any, command: bytes) -> None:
        seen.append((self.raftLastApplied, command[:1]))

    node = a_leader_with(StockNode(monkeypatch, overrides={"_SyncObj__doApplyCommand": hand_over}), "x", "y")
    node.tick(0.1)

    assert seen == [(1, NO_OP), (2, b"\x00"), (3, b"\x00")]


def test_what_is_committed_is_applied_in_the_same_tick_and_before_new_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    node = StockNode(
        monkeypatch,
        overrides={
            "_SyncObj__doApplyCommand": lambda _self, _command: order.append("apply"),
            "_checkCommandsToApply": lambda _self: order.append("admit"),
        },
    ).lead()
    order.clear()
    node.hear(B, type="next_node_idx", next_node_idx=3, success=True, reset=False)
    node.tick()

    assert order == ["apply", "admit"]


def test_without_batching_a_commit_is_told_in_the_tick_that_makes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    overrides = {"_SyncObj__sendAppendEntries": lambda _self: asked.append("append")}
    node = StockNode(monkeypatch, overrides=overrides, appendEntriesUseBatch=False).lead()
    node.tick()
    asked.clear()
    node.hear(B, type="next_node_idx", next_node_idx=3, success=True, reset=False)
    node.tick()

    assert asked


def test_commands_membership_and_versions_would_be_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 6. The graft replaces what does so, and its `pickle` refuses whatever is left."""
    for name in ("_SyncObj__doApplyCommand", "_SyncObj__parseChangeClusterRequest"):
        assert "pickle.loads" in source_of(name)
    node = HandNode(NAMES[0], NAMES[1:3])
    engine_globals = globals_of(node)
    with pytest.raises(AssertionError, match="tried to use pickle"):
        engine_globals["pickle"].loads(pickle.dumps(1))


def test_engines_share_no_clock_no_dice_and_no_journal() -> None:
    one, other = HandNode(NAMES[0], NAMES[1:3]), HandNode(NAMES[1], NAMES[:1])
    spaces = [globals_of(node) for node in (one, other)]

    assert spaces[0] is not spaces[1]
    assert spaces[0] is not vars(syncobj)
    assert spaces[0]["random"] is one.dice
    assert spaces[0]["monotonicTime"]() == one.clock.now_s


def test_stock_compaction_and_dumps_stay_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 8 and 9: without a dump file nothing is loaded, and our limits are never reached."""
    assert "self.__conf.fullDumpFile is not None" in source_of("_onTick")
    node = HandNode(NAMES[0], [])
    for _ in range(20):
        node.wait(0.5)
    assert node.replica.graft.is_leader


def test_its_reasons_of_failure_are_the_ones_that_were_read() -> None:
    """None reaches us, since its queue is not used; a new one would mean new behaviour."""
    names = {name for name in vars(FAIL_REASON) if name.isupper()}
    assert names == {
        "SUCCESS", "QUEUE_FULL", "MISSING_LEADER", "DISCARDED", "NOT_LEADER", "LEADER_CHANGED", "REQUEST_DENIED",
        "UNKNOWN_OUTCOME",
    }  # fmt: skip
