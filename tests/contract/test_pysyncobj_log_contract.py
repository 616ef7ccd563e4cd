"""What the guard relies on in how stock pysyncobj 0.3.17 replicates, and the faults in it that the guard cures.

See test_pysyncobj_contract.py.
"""

import inspect
from typing import Any

import pytest
from pysyncobj import SyncObjConf, syncobj

from tests.support.stock import ME, TIMING, B, C, StockNode


def source_of(name: str) -> str:
    return inspect.getsource(getattr(syncobj.SyncObj, name))


# Appends, the leader's side -----------------------------------------------------------------------------------------


def test_there_is_one_sender_of_appends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replacing it replaces all: none is sent elsewhere."""
    asked: list[int] = []
    node = StockNode(monkeypatch, overrides={"_SyncObj__sendAppendEntries": lambda _self: asked.append(1)}).lead()
    node.engine.put("x")
    for _ in range(5):
        node.tick(0.2)
        node.hear(B, type="next_node_idx", next_node_idx=3, success=True, reset=False)

    assert len(asked) >= 5
    assert node.wire.of("append_entries") == []


def test_an_acknowledgement_moves_back_what_is_sent_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 2: all that is in flight is sent again. The guard puts the position back."""
    node = StockNode(monkeypatch).lead()
    for number in range(5):
        node.engine.put(str(number))
    node.tick(0.2)
    node.tick(0.2)
    assert node.private("raftNextIndex")[B] == 8
    node.hear(B, type="next_node_idx", next_node_idx=3, success=True, reset=False)

    assert node.private("raftMatchIndex")[B] == 2
    assert node.private("raftNextIndex")[B] == 3


def test_a_rejection_moves_back_below_what_was_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 2: a late one too. The guard never lets it see a reset."""
    node = StockNode(monkeypatch).lead()
    node.hear(B, type="next_node_idx", next_node_idx=3, success=True, reset=False)
    node.hear(B, type="next_node_idx", next_node_idx=2, success=False, reset=True)

    assert node.private("raftNextIndex")[B] == 2


def test_answers_carry_no_term_and_are_believed_in_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 2: nothing in the message tells an answer to an earlier term."""
    node = StockNode(monkeypatch)
    (answer,) = node.append(prev=(1, 0), term=1)

    assert set(answer) == {"type", "next_node_idx", "reset", "success"}
    assert "term" not in source_of("_SyncObj__sendNextNodeIdx")


def test_an_answer_counts_as_contact_even_if_it_rejects(monkeypatch: pytest.MonkeyPatch) -> None:
    node = StockNode(monkeypatch, leaderFallbackTimeout=0.5).lead()
    node.now_s += 0.6
    node.hear(B, type="next_node_idx", next_node_idx=2, success=False, reset=False)
    node.tick()

    assert node.engine._isLeader()


def test_only_entries_of_its_own_term_are_committed_by_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figure 8 of the Raft paper."""
    node = StockNode(monkeypatch)
    node.append(1, 1, prev=(1, 0), term=1)
    node.lead()
    node.hear(B, type="next_node_idx", next_node_idx=4, success=True, reset=False)
    node.tick()
    assert node.engine.raftCommitIndex == 1
    node.hear(B, type="next_node_idx", next_node_idx=5, success=True, reset=False)
    node.tick()

    assert node.engine.raftCommitIndex == 4


def test_a_large_entry_is_cut_by_the_wrong_length() -> None:
    """Fault 7: the cuts are of the pickled entry, the last one is chosen by the length of its command."""
    source = source_of("_SyncObj__sendAppendEntries")
    assert "for pos in xrange(0, len(entry), batchSizeBytes)" in source
    assert "elif pos + batchSizeBytes >= len(entries[0][0])" in source


# Appends, the follower's side ---------------------------------------------------------------------------------------


def test_everything_after_the_previous_entry_is_deleted_conflict_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 1: a late append takes acknowledged entries back."""
    node = StockNode(monkeypatch)
    node.append(1, 1, 1, 1, prev=(1, 0), term=1)
    (answer,) = node.append(1, prev=(1, 0), term=1)

    assert node.log() == [(1, 0), (2, 1)]
    assert answer["success"]


def test_an_append_without_entries_deletes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 1, by a heartbeat."""
    node = StockNode(monkeypatch)
    node.append(1, 1, 1, prev=(1, 0), term=1)
    node.append(prev=(1, 0), term=1)

    assert node.log() == [(1, 0)]


def test_an_append_that_fits_exactly_deletes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the guard hands over: it ends in our last entry, or begins after it, or truly conflicts."""
    node = StockNode(monkeypatch)
    node.append(1, 1, prev=(1, 0), term=1)
    node.journal.calls.clear()
    node.append(prev=(3, 1), term=1)
    node.append(1, prev=(3, 1), term=1)

    assert node.log() == [(1, 0), (2, 1), (3, 1), (4, 1)]
    assert [call for call in node.journal.calls if call[0] == "deleteEntriesFrom"] == []


def test_a_conflict_is_answered_one_entry_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 3. The guard's hint replaces the number; `reset` is how it knows a rejection."""
    node = StockNode(monkeypatch)
    node.append(*[1] * 50, prev=(1, 0), term=1)
    (answer,) = node.append(2, prev=(40, 2), term=2)

    assert (answer["success"], answer["reset"], answer["next_node_idx"]) == (False, True, 40)


def test_an_append_beyond_the_log_is_answered_with_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    node = StockNode(monkeypatch)
    (answer,) = node.append(2, prev=(40, 2), term=2)

    assert (answer["success"], answer["reset"], answer["next_node_idx"]) == (False, True, 2)


def test_the_commit_index_follows_the_leader_as_far_as_the_log_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 1: also over entries that were never compared. The guard bounds what it is told."""
    node = StockNode(monkeypatch)
    node.append(1, 1, 1, prev=(1, 0), term=1)
    node.journal.calls.clear()
    node.hear(C, type="append_entries", term=2, commit_index=99, entries=[], prevLogIdx=4, prevLogTerm=1)

    assert node.engine.raftCommitIndex == 4


def test_a_leader_of_an_earlier_term_is_ignored_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 4."""
    node = StockNode(monkeypatch)
    node.append(prev=(1, 0), term=5)

    assert node.append(prev=(1, 0), term=3) == []


# The journal --------------------------------------------------------------------------------------------------------


def test_the_journal_is_read_at_its_ends_and_in_forward_slices_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions are relative to the first entry. Ours understands these and nothing else."""
    node = StockNode(monkeypatch)
    node.append(1, 1, 1, prev=(1, 0), term=1)
    node.append(2, prev=(2, 1), term=2, commit=2)
    node.lead()
    node.engine.put("x")
    node.tick(0.2)
    node.hear(B, type="next_node_idx", next_node_idx=5, success=True, reset=False)
    node.tick(0.2)
    items = [item for name, item in node.journal.calls if name == "getitem"]
    single = {item for item in items if isinstance(item, int)}
    slices = [item for item in items if isinstance(item, slice)]

    assert single <= {0, -1}
    assert slices
    assert all(item.step is None and item.start >= 0 and (item.stop is None or item.stop >= 0) for item in slices)


def test_the_end_of_the_log_is_cut_by_position_not_by_index(monkeypatch: pytest.MonkeyPatch) -> None:
    node = StockNode(monkeypatch)
    node.append(1, 1, 1, prev=(1, 0), term=1)
    node.append(2, prev=(2, 1), term=2)

    assert [call for call in node.journal.calls if call[0] == "deleteEntriesFrom"] == [("deleteEntriesFrom", 2)]


def test_term_vote_and_commit_index_are_taken_from_the_journal_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    node = StockNode(monkeypatch)
    node.append(1, 1, prev=(1, 0), term=1, commit=3)
    node.hear(C, type="request_vote", term=7, last_log_index=3, last_log_term=1)
    monkeypatch.setattr(syncobj, "createJournal", lambda _file: node.journal)
    again: Any = syncobj.SyncObj(ME, [B, C], SyncObjConf(autoTick=False, **TIMING), transport=node.wire)

    assert (again.raftCurrentTerm, again._SyncObj__votedForNodeId, again.raftCommitIndex) == (7, "c", 3)
    assert again.raftLastApplied == 1  # fault 10: everything is replayed; the graft sets what the store holds


def test_an_empty_journal_gets_a_first_entry_of_term_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on every node, which makes index 1 a place where all logs agree."""
    assert StockNode(monkeypatch).log() == [(1, 0)]
