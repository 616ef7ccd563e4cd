"""Between the wire and SyncObj: appends reduced to what may be acted on, answers taken only for what they say."""

import pytest

from replicator.engine.raft.message_bounds import Malformed
from replicator.model.ids import Term
from replicator.model.log import HardState
from replicator.v1 import raft_pb2
from tests.support.commands import put
from tests.support.followers import a_follower, answer, append, terms_of
from tests.support.replicas import NAMES, HandCluster, HandNode, bodies

A, B, C = NAMES[:3]


# Fault 1: what an append may delete, acknowledge and commit --------------------------------------------------------


def test_entries_that_are_held_already_delete_nothing() -> None:
    """Stock deletes everything after prevLogIdx, conflict or not: acknowledged entries of an older, slower append."""
    node = a_follower(1, 1, 1, 9, 9)
    reply = answer(node, append((1, 1), 1, 1))

    assert terms_of(node) == [1, 1, 1, 9, 9]
    assert (reply.success, reply.next_index) == (True, 4)


def test_a_heartbeat_deletes_nothing_and_acknowledges_only_what_it_named() -> None:
    """Our tail beyond it was not compared: it may be another leader's."""
    node = a_follower(1, 1, 1, 7, 7)
    reply = answer(node, append((3, 1)))

    assert terms_of(node) == [1, 1, 1, 7, 7]
    assert (reply.success, reply.next_index) == (True, 4)


def test_an_append_that_overlaps_adds_what_is_missing() -> None:
    node = a_follower(1, 1, 1)
    reply = answer(node, append((1, 1), 1, 1, 9, 9))

    assert terms_of(node) == [1, 1, 1, 9, 9]
    assert (reply.success, reply.next_index) == (True, 6)


def test_a_conflict_deletes_from_the_first_entry_that_differs() -> None:
    node = a_follower(1, 1, 5, 5, 5)
    reply = answer(node, append((1, 1), 1, 9))

    assert terms_of(node) == [1, 1, 9]
    assert (reply.success, reply.next_index) == (True, 4)


def test_the_commit_index_is_bounded_by_what_was_compared() -> None:
    """The leader's commit index may cover entries where ours are still another leader's."""
    node = a_follower(1, 1, 5, 5, 5)
    answer(node, append((2, 1), commit=5))
    assert node.replica.graft.commit_index == 2

    answer(node, append((2, 1), 9, 9, commit=9, sequence=2))
    assert node.replica.graft.commit_index == 4


def test_a_rejected_append_commits_nothing() -> None:
    node = a_follower(1, 1, 5)
    reply = answer(node, append((3, 9), 9, commit=4))

    assert (reply.success, reply.rewind) == (False, True)
    assert node.replica.graft.commit_index == 1


@pytest.mark.parametrize("split", range(1, 6))
def test_appends_that_arrive_again_in_any_cut_leave_the_same_log(split: int) -> None:
    """Whatever was sent before is idempotent."""
    node = a_follower(1)
    terms = [1, 1, 5, 5, 9]
    whole = append((1, 1), *terms)
    answer(node, whole)
    prev = (1, 1) if split == 1 else (split, terms[split - 2])
    for message in (append((1, 1), *terms[:split]), append(prev, *terms[split - 1 :]), whole):
        answer(node, message)

    assert terms_of(node) == [1, *terms]


# Fault 3: the way back after a conflict ----------------------------------------------------------------------------


def test_a_conflict_sends_the_leader_back_before_the_whole_term() -> None:
    """Not one entry a round trip."""
    node = a_follower(1, 1, *[5] * 100)
    reply = answer(node, append((80, 9), 9))

    assert (reply.rewind, reply.next_index) == (True, 3)


def test_a_log_that_is_too_short_says_where_it_ends() -> None:
    node = a_follower(1, 1, 1)
    reply = answer(node, append((80, 9), 9))

    assert (reply.rewind, reply.next_index) == (True, 4)


def test_the_way_back_never_passes_what_is_committed() -> None:
    node = a_follower(*[5] * 50, commit=20)
    reply = answer(node, append((40, 9), 9))

    assert reply.next_index == 21


def test_logs_that_differ_in_many_terms_are_reconciled_in_as_many_steps() -> None:
    """And not in as many as there are entries."""
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.write(b"common")
    cluster.cut = frozenset({(A, B), (B, A), (A, C), (C, A)})
    for key in range(50):
        leader.replica.proposals.offer(put(b"%d" % key), lambda _result: None)
        cluster.take(A)
    cluster.elect(B)
    cluster.write(b"other")
    cluster.cut = frozenset()
    rejected = 0
    for _ in range(60):
        cluster.clock.forward(0.02)
        for name in cluster.nodes:
            cluster.take(name)
        while cluster.wire:
            sender, out = cluster.wire[0]
            if sender == A and bodies([out], "append_reply"):
                rejected += bodies([out], "append_reply")[0].append_reply.rewind
            cluster.wire.popleft()
            cluster.hand_over(sender, out)

    assert cluster[A].log() == cluster[B].log() == cluster[C].log()
    assert rejected <= 3


# Fault 4: stale leaders and candidates -----------------------------------------------------------------------------


def test_a_leader_of_an_earlier_term_is_told_and_changes_nothing() -> None:
    node = a_follower(1, 1, 5)
    frames = node.hear(B, append_entries=append((2, 1), 3, term=3))

    assert [m.stale_term.term for m in bodies(frames, "stale_term")] == [9]
    assert bodies(frames, "append_reply") == []
    assert terms_of(node) == [1, 1, 5]


def test_a_candidate_of_an_earlier_term_is_told() -> None:
    node = a_follower(1)
    frames = node.hear(B, request_vote=raft_pb2.RequestVote(term=3, last_index=9, last_term=3))

    assert [m.stale_term.term for m in bodies(frames, "stale_term")] == [9]
    assert bodies(frames, "vote_reply") == []


def test_a_leader_that_hears_of_a_newer_term_steps_down() -> None:
    leader = HandCluster(3).elect(A)
    term = leader.replica.graft.term
    leader.hear(B, stale_term=raft_pb2.StaleTerm(term=term))
    assert leader.replica.graft.is_leader
    leader.hear(B, stale_term=raft_pb2.StaleTerm(term=term + 1))

    assert (leader.replica.graft.role, leader.replica.graft.term) == ("follower", term + 1)
    assert leader.disk.state == HardState(Term(term + 1), None, leader.disk.state.commit_index)


def test_a_second_leader_of_one_term_costs_the_peer_its_link() -> None:
    """It cannot be: one of the two is broken, and nothing it says is believed."""
    leader = HandCluster(3).elect(A)
    with pytest.raises(Malformed, match="second leader"):
        leader.replica._guard.append_entries(B, append((1, 0), term=leader.replica.graft.term))


# Votes -------------------------------------------------------------------------------------------------------------


def test_a_node_votes_once_a_term_also_after_a_restart() -> None:
    node = a_follower(1)
    request = raft_pb2.RequestVote(term=10, last_index=1, last_term=1)
    assert len(bodies(node.hear(B, request_vote=request), "vote_reply")) == 1
    assert bodies(node.hear(C, request_vote=request), "vote_reply") == []
    node.restart()
    node.link(B, C)

    assert bodies(node.hear(C, request_vote=request), "vote_reply") == []


@pytest.mark.parametrize(("last", "granted"), [((3, 5), True), ((9, 4), False), ((2, 5), False), ((1, 6), True)])
def test_a_vote_goes_only_to_a_log_that_is_at_least_as_new(last: tuple[int, int], granted: bool) -> None:
    """By last term, then by length."""
    node = a_follower(1, 1, 5)
    request = raft_pb2.RequestVote(term=10, last_index=last[0], last_term=last[1])

    assert bool(bodies(node.hear(B, request_vote=request), "vote_reply")) is granted


def a_candidate_of_five() -> HandNode:
    return HandCluster(5).campaign(A)


def test_each_voter_counts_once_however_often_it_answers() -> None:
    """Stock counts messages."""
    node = a_candidate_of_five()
    reply = raft_pb2.VoteReply(term=node.replica.graft.term)
    for _ in range(5):
        node.hear(B, vote_reply=reply)
    assert node.replica.graft.role == "candidate"
    node.hear(C, vote_reply=reply)

    assert node.replica.graft.is_leader


def test_a_vote_for_another_term_counts_for_nothing() -> None:
    node = a_candidate_of_five()
    for peer in (B, C):
        node.hear(peer, vote_reply=raft_pb2.VoteReply(term=node.replica.graft.term - 1))

    assert not node.replica.graft.is_leader


def test_an_answer_to_a_campaign_that_was_never_begun_is_malformed() -> None:
    node = a_candidate_of_five()
    later = node.replica.graft.term + 1
    node.hear(B, vote_reply=raft_pb2.VoteReply(term=later))
    assert node.last is not None
    assert [bad.peer for bad in node.last.bad_links] == [B]
    node.hear(C, pre_vote_reply=raft_pb2.PreVoteReply(asked_term=later + 1, granted=True))
    assert [bad.peer for bad in node.last.bad_links] == [C]


# Fault 2: what a leader makes of answers ---------------------------------------------------------------------------


def a_leader() -> tuple[HandCluster, HandNode]:
    cluster = HandCluster(3)
    leader = cluster.elect(A)
    cluster.write(b"k")
    return cluster, leader


def reply_of(node: HandNode, **fields: int) -> raft_pb2.AppendReply:
    progress = node.replica.pump.progress[B]
    last = node.replica.journal.last_index
    values = {"term": node.replica.graft.term, "answers": progress.sent, "clock_ms": 1, "last_index": last, **fields}
    return raft_pb2.AppendReply(**values)  # type: ignore[arg-type]


def test_an_answer_of_an_earlier_term_counts_for_nothing() -> None:
    cluster, leader = a_leader()
    cluster.elect(B)
    cluster.elect(A)
    match = leader.replica.graft.match_index(B)
    contact = leader.replica.pump.progress[B].acked
    leader.replica.proposals.offer(put(b"new"), lambda _result: None)
    leader.turn()
    leader.hear(B, append_reply=reply_of(leader, term=leader.replica.graft.term - 1, success=1, next_index=match + 2))

    assert leader.replica.graft.match_index(B) == match
    assert leader.replica.pump.progress[B].acked == contact


def test_an_answer_of_a_newer_term_deposes() -> None:
    _, leader = a_leader()
    term = leader.replica.graft.term
    leader.hear(B, append_reply=reply_of(leader, term=term + 3, rewind=1, next_index=1))

    assert (leader.replica.graft.term, leader.replica.graft.is_leader) == (term + 3, False)


def test_what_is_acknowledged_is_never_taken_back() -> None:
    """A rejection that asks to start before it is answered with what comes after it."""
    _, leader = a_leader()
    match = leader.replica.graft.match_index(B)
    frames = leader.hear(B, append_reply=reply_of(leader, rewind=1, next_index=1))
    (sent,) = bodies(frames, "append_entries", to=B)

    assert leader.replica.graft.match_index(B) == match
    assert sent.append_entries.prev_index == match


def test_a_peer_that_holds_less_than_it_acknowledged_loses_its_link_and_counts_for_nothing() -> None:
    """Within a term no correct peer gives anything back: its disk was lost, or put back, and its votes with it."""
    _, leader = a_leader()
    match, epoch = leader.replica.graft.match_index(B), leader.replica.link_epoch(B)
    assert match > 1

    frames = leader.hear(B, append_reply=reply_of(leader, rewind=1, next_index=2, last_index=1))

    assert leader.last is not None
    (lost,) = leader.last.lost_data
    assert (lost.peer, lost.epoch) == (B, epoch)
    assert (
        f"acknowledged entry {match} in term {leader.replica.graft.term} and now holds the log up to 1 only" in lost.why
    )
    assert [out for out in frames if out.peer == B] == []
    assert leader.replica.linked == {C}
    assert leader.replica.graft.match_index(B) == 0


def test_what_a_peer_acknowledged_before_it_lost_its_data_commits_nothing_more() -> None:
    cluster, leader = a_leader()
    cluster.cut = frozenset({(A, C), (C, A)})
    leader.hear(B, append_reply=reply_of(leader, rewind=1, next_index=2, last_index=1))
    commit = leader.replica.graft.commit_index
    leader.replica.proposals.offer(put(b"alone"), lambda _result: None)
    cluster.take(A)
    cluster.deliver()

    assert leader.replica.graft.commit_index == commit < leader.replica.journal.last_index


def test_rejections_of_what_was_sent_before_a_rewind_are_void() -> None:
    """Otherwise each of them sends everything again: over a long link, for ever."""
    cluster, leader = a_leader()
    cluster.cut = frozenset({(A, B)})
    for key in range(5):
        leader.replica.proposals.offer(put(b"%d" % key), lambda _result: None)
        cluster.take(A)
    cluster.wire.clear()
    sent, match = leader.replica.pump.progress[B].sent, leader.replica.graft.match_index(B)
    resent = []
    for number in range(sent - 4, sent + 1):
        frames = leader.hear(B, append_reply=reply_of(leader, answers=number, rewind=1, next_index=match + 1))
        resent += [m for m in bodies(frames, "append_entries", to=B) if m.append_entries.entries]

    assert len(resent) == 1
    assert [entry.index for entry in resent[0].append_entries.entries] == [match + n for n in range(1, 6)]


def test_a_rejection_of_what_was_sent_after_a_rewind_rewinds_again() -> None:
    cluster, leader = a_leader()
    cluster.cut = frozenset({(A, B)})
    for key in range(5):
        leader.replica.proposals.offer(put(b"%d" % key), lambda _result: None)
        cluster.take(A)
    cluster.wire.clear()
    match = leader.replica.graft.match_index(B)
    for following in (match + 3, match + 1):
        frames = leader.hear(B, append_reply=reply_of(leader, rewind=1, next_index=following))
        (sent,) = bodies(frames, "append_entries", to=B)
        assert sent.append_entries.entries[0].index == following


def test_acknowledgements_do_not_make_what_is_under_way_be_sent_again() -> None:
    """Stock moves back what is sent next with each of them."""
    cluster, leader = a_leader()
    cluster.hold = frozenset({(B, A)})
    for key in range(5):
        leader.replica.proposals.offer(put(b"%d" % key), lambda _result: None)
        cluster.take(A)
        cluster.deliver()
    entries = 0
    for _, out in cluster.late:
        (reply,) = bodies([out], "append_reply")
        frames = leader.hear(B, append_reply=reply.append_reply)
        entries += sum(len(m.append_entries.entries) for m in bodies(frames, "append_entries", to=B))

    assert entries == 0
    assert leader.replica.graft.match_index(B) == leader.replica.journal.last_index


@pytest.mark.parametrize(
    "fields", [{"answers": 1 << 40}, {"next_index": 0}, {"success": 1, "next_index": 1 << 40}], ids=str
)
def test_an_answer_that_no_correct_follower_gives_is_malformed(fields: dict[str, int]) -> None:
    """To an append never sent; to an entry that does not exist."""
    _, leader = a_leader()
    with pytest.raises(Malformed):
        leader.replica._guard.append_reply(B, reply_of(leader, **{"next_index": 2, **fields}))


def test_a_rewind_beyond_our_log_starts_at_its_end() -> None:
    _, leader = a_leader()
    frames = leader.hear(B, append_reply=reply_of(leader, rewind=1, next_index=1 << 40, last_index=1 << 40))
    (sent,) = bodies(frames, "append_entries", to=B)

    assert sent.append_entries.prev_index == leader.replica.journal.last_index
