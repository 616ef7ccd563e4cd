"""Memberships that change: who counts, who may vote, and what a node must not do meanwhile."""

from dataclasses import replace

from replicator.engine.events import Frame, LinkUp
from replicator.engine.leading.request_table import MEMBER_CHANGE
from replicator.engine.leading.transfer import TransferRequest
from replicator.engine.raft.messages import encode
from replicator.model.errors import ChangeInProgress, NoMajority, NotLeader, ReplicatorError
from replicator.model.ids import LogIndex, NodeId
from replicator.model.members import MemberRole, Membership, RemoveMember, SetMember
from replicator.v1 import raft_pb2
from tests.support.members import a_member, voters
from tests.support.replicas import LAN, NAMES, HandCluster, HandNode, bodies, frame

A, B, C, D, E = NAMES[:5]
DISK, OTHER_DISK = b"d" * 16, b"o" * 16


def membership_at(node: HandNode) -> Membership:
    return node.replica.group.membership


def granted(answers: list[Membership | ReplicatorError]) -> Membership:
    assert len(answers) == 1, answers
    assert isinstance(answers[0], Membership), answers
    return answers[0]


def refused(answers: list[Membership | ReplicatorError]) -> ReplicatorError:
    assert len(answers) == 1, answers
    assert isinstance(answers[0], ReplicatorError), answers
    return answers[0]


def a_cluster_of_four() -> HandCluster:
    """A, B, C and D, of which A leads and D came later."""
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.join(D, directory_id=DISK)
    granted(cluster.change(SetMember(a_member(D, directory_id=DISK))))
    cluster.wait(0.5)
    assert membership_at(cluster[D]).voters == {A, B, C, D}
    return cluster


def test_a_node_that_joins_catches_up_and_then_votes() -> None:
    cluster = HandCluster(3)
    cluster.elect(A)
    last = [cluster.write(b"k%d" % number) for number in range(20)][-1]
    cluster.join(D, directory_id=DISK)

    answer = granted(cluster.change(SetMember(a_member(D, directory_id=DISK))))
    cluster.wait(0.5)

    joined = answer.get(D)
    assert joined is not None
    assert joined.role is MemberRole.JOINING
    assert cluster[D].replica.applied_index > last
    assert all(membership_at(node) == membership_at(cluster[A]) for node in cluster.nodes.values())
    assert membership_at(cluster[D]).voters == {A, B, C, D}
    assert cluster[D].replica.group.is_voter


def test_a_joining_node_that_has_not_caught_up_does_not_count() -> None:
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.join(D, directory_id=DISK)
    cluster.cut = frozenset({(A, D)})

    granted(cluster.change(SetMember(a_member(D, directory_id=DISK))))
    cluster.wait(1.0)

    assert membership_at(cluster[A]).voters == {A, B, C}
    cluster.write(b"still a majority of three")


def test_a_member_without_a_known_directory_does_not_become_a_voter() -> None:
    """It could not know that it is the one that is meant."""
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.join(D)

    granted(cluster.change(SetMember(a_member(D))))
    cluster.wait(0.5)

    assert membership_at(cluster[A]).voters == {A, B, C}


def test_an_observer_holds_everything_and_counts_for_nothing() -> None:
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.join(D, directory_id=DISK)
    granted(cluster.change(SetMember(a_member(D, MemberRole.OBSERVER, DISK))))
    cluster.write(b"k")
    cluster.wait(0.2)
    assert cluster[D].replica.applied_index == cluster[A].replica.applied_index

    cluster.cut = frozenset({(A, B), (A, C)})
    answers: list[object] = []
    commit = cluster[A].replica.graft.commit_index
    cluster[A].replica.proposals.offer(b"", answers.append)
    cluster.take(A)
    cluster.deliver()

    assert cluster[D].replica.journal.last_index > commit
    assert cluster[A].replica.graft.commit_index == commit
    assert answers == []


def test_an_observer_never_campaigns() -> None:
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.join(D, directory_id=DISK)
    granted(cluster.change(SetMember(a_member(D, MemberRole.OBSERVER, DISK))))
    term = cluster[D].replica.graft.term

    cluster.clock.forward(60)
    frames = [out for _ in range(50) for out in cluster[D].turn()]

    assert bodies(frames, "pre_vote") == bodies(frames, "request_vote") == []
    assert cluster[D].replica.graft.term == term


def test_a_removed_voter_does_not_count_and_is_told_nothing() -> None:
    cluster = a_cluster_of_four()

    granted(cluster.change(RemoveMember(C)))
    cluster.write(b"k")

    assert membership_at(cluster[A]).voters == {A, B, D}
    assert C not in cluster[A].replica.pump.progress
    assert cluster[C].replica.applied_index < cluster[A].replica.applied_index


def test_a_removed_node_cannot_disturb() -> None:
    """It may campaign for as long as it likes: nobody who knows of its removal takes its term or gives it a vote."""
    cluster = a_cluster_of_four()
    cluster.cut = frozenset({(A, C)})
    granted(cluster.change(RemoveMember(C)))
    terms = [cluster[name].replica.graft.term for name in (A, B, D)]
    asked = raft_pb2.RequestVote(term=99, last_index=10_000, last_term=98, membership_index=0)

    for name in (A, B, D):
        epoch = cluster[name].replica.link_epoch(C)
        assert epoch is not None
        cluster.take(name, frame(C, epoch, request_vote=asked))
    cluster.deliver()

    assert [cluster[name].replica.graft.term for name in (A, B, D)] == terms
    assert cluster[A].replica.graft.is_leader


def test_who_lags_votes_for_a_member_that_it_does_not_know() -> None:
    """Or a majority that is up could not elect anybody."""
    cluster = a_cluster_of_four()
    lagging = HandNode(B, [A, C], clock=cluster.clock)
    lagging.turn(LinkUp(D, 1))
    lagging.clock.forward(10)
    last = cluster[D].replica.journal.entry(cluster[D].replica.journal.last_index)
    asked = raft_pb2.RequestVote(term=9, last_index=last.index, last_term=last.term)

    unknown = bodies(lagging.turn(frame(D, 1, request_vote=asked)), "vote_reply")
    asked.membership_index = membership_at(cluster[D]).index
    member = bodies(lagging.turn(frame(D, 1, request_vote=asked)), "vote_reply")

    assert (len(unknown), len(member)) == (0, 1)


def test_a_node_that_joins_votes_for_nobody_before_it_belongs() -> None:
    """It may be one that lost its disk, and has forgotten a vote of this very term."""
    cluster = HandCluster(3)
    cluster.elect(A)
    joining = cluster.join(D, directory_id=DISK)
    asked = raft_pb2.RequestVote(term=9, last_index=10, last_term=8)

    for peer in (A, B, C):
        epoch = joining.replica.link_epoch(peer)
        assert epoch is not None
        assert bodies(joining.turn(frame(peer, epoch, request_vote=asked)), "vote_reply") == []
    cluster.clock.forward(60)
    assert bodies(joining.turn(), "pre_vote") == []


def test_a_lost_disk_under_an_old_name_does_not_vote_by_an_old_membership() -> None:
    """It meets its former self in the log: a voter, but with another data directory or, still earlier, with none."""
    back = HandNode(C, [], settings=replace(HandNode(C, [A, B]).settings, joining=True, directory_id=OTHER_DISK))
    assert not back.replica.group.is_voter

    group = back.replica.group
    group.take(replace(voters(A, B, index=4).with_member(a_member(C, directory_id=DISK))))
    assert not group.is_voter
    group.take(voters(A, B, index=5).with_member(a_member(C, MemberRole.JOINING, OTHER_DISK)))
    assert not group.is_voter
    group.take(voters(A, B, index=6).with_member(a_member(C, directory_id=OTHER_DISK)))
    assert group.is_voter


def test_a_member_that_lives_is_not_displaced_by_a_namesake() -> None:
    cluster = a_cluster_of_four()
    namesake = SetMember(a_member(D, directory_id=OTHER_DISK))

    assert "connected" in refused(cluster.change(namesake)).message
    cluster.disconnect(A, D)
    granted(cluster.change(namesake))
    assert membership_at(cluster[A]).get(D) == a_member(D, MemberRole.JOINING, OTHER_DISK)
    assert cluster[A].replica.graft.match_index(D) == 0, "what the lost disk held does not count for the new one"


def test_the_leader_notes_the_directories_of_its_members() -> None:
    cluster = HandCluster(1, directory_id=DISK)
    node = cluster[A]
    for _ in range(20):
        cluster.clock.forward(0.1)
        cluster.take(A)

    assert [member.directory_id for member in membership_at(node).members] == [DISK]


def test_one_change_at_a_time() -> None:
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.cut = frozenset({(B, A), (C, A)})
    first = cluster.change(SetMember(a_member(D, MemberRole.OBSERVER)))
    second = cluster.change(SetMember(a_member(E, MemberRole.OBSERVER)))

    assert first == []
    assert isinstance(refused(second), ChangeInProgress)
    cluster.cut = frozenset()
    cluster.wait(0.2)
    assert granted(first).get(D) is not None


def test_a_change_that_would_stop_the_group_is_refused() -> None:
    """Of two voters left, one is down: it is the one to remove."""
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.disconnect(A, C)

    assert isinstance(refused(cluster.change(RemoveMember(B))), NoMajority)
    assert granted(cluster.change(RemoveMember(C))).voters == {A, B}


def test_a_leader_that_is_to_go_hands_over_first() -> None:
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.write(b"k")

    assert isinstance(refused(cluster.change(RemoveMember(A))), NotLeader)

    leader = cluster.leader()
    assert leader.node_id != A
    assert granted(cluster.change(RemoveMember(A))).voters == {B, C}
    cluster.write(b"after")


def test_a_leader_that_applies_its_own_removal_leads_no_more() -> None:
    """A removal that another leader proposed may be committed by the removed node itself."""
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.hold = frozenset({(B, A), (C, A), (A, C)})
    cluster.change(RemoveMember(B))
    cluster.hold = frozenset()
    cluster.disconnect(A, B)
    cluster.disconnect(A, C)
    cluster.elect(B)
    cluster.wait(0.1)

    assert membership_at(cluster[B]).voters == {A, C}
    assert not cluster[B].replica.graft.is_leader


def test_leadership_is_not_handed_to_somebody_who_was_removed_meanwhile() -> None:
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.cut = frozenset({(A, B)})
    cluster.write(b"what B lacks")
    heard: list[NodeId | ReplicatorError] = []
    cluster[A].replica.transfers.begin(TransferRequest(node_id=B, timeout_s=60.0), heard.append)

    granted(cluster.change(RemoveMember(B)))
    cluster.wait(0.1)

    assert "no longer votes" in str(heard[0])
    assert cluster[A].replica.graft.is_leader
    cluster.write(b"the leader stays the leader")


def test_a_new_leader_waits_for_what_it_inherited() -> None:
    """What is not known to be committed may yet be; two changes at once could make majorities that do not meet."""
    cluster = HandCluster(3)
    cluster.elect(A)
    cluster.cut = frozenset({(B, A), (C, A)})
    cluster.change(SetMember(a_member(D, MemberRole.OBSERVER)))
    cluster.disconnect(A, B)
    cluster.disconnect(A, C)
    leader = cluster.elect_unheard(B)
    before = leader.replica.journal.last_index

    answers = list[Membership | ReplicatorError]()
    leader.replica.members.ask(SetMember(a_member(E, MemberRole.OBSERVER)), answers.append)
    cluster.take(B)
    assert leader.replica.journal.last_index == before

    cluster.deliver()
    cluster.wait(0.2)
    assert {member.node_id for member in granted(answers).members} == {A, B, C, D, E}


def test_nobody_campaigns_while_something_committed_is_not_applied() -> None:
    """It may be the change by which this node counts wrongly."""
    node = HandNode(A, [B, C])
    node.link(B, C)
    node.disk.state = replace(node.disk.state, commit_index=node.disk.entries[-1].index)
    node.replica.journal.applied_index = LogIndex(node.replica.graft.commit_index - 1)

    assert not node.replica.may_campaign()


def test_a_restart_in_the_middle_of_a_change_goes_on_with_what_is_applied() -> None:
    cluster = a_cluster_of_four()
    cluster.hold = frozenset({(B, A), (C, A), (D, A)})
    cluster.change(RemoveMember(C))
    for name in (A, B, C, D):
        cluster[name].restart()
    assert all(membership_at(cluster[name]).voters == {A, B, C, D} for name in (A, B, C, D))

    cluster.hold, cluster.late = frozenset(), []
    cluster.wire.clear()
    for name in (A, B, C, D):
        for peer in (A, B, C, D):
            if name < peer:
                cluster.connect(name, peer)
    cluster.elect(B)
    cluster.wait(0.5)

    assert membership_at(cluster[B]).voters == {A, B, D}


def test_a_frame_of_one_that_is_no_member_any_more_moves_nothing() -> None:
    cluster = a_cluster_of_four()
    leader = cluster.leader()
    granted(cluster.change(RemoveMember(C)))
    epoch = leader.replica.link_epoch(C)
    assert epoch is not None
    reply = raft_pb2.AppendReply(term=leader.replica.graft.term, answers=1, success=True, next_index=2, last_index=1)

    turn = leader.open(Frame(C, epoch, encode(raft_pb2.RaftMessage(append_reply=reply))))
    leader.close(turn)

    assert turn.bad_links == ()


def test_a_request_is_forwarded_by_any_node() -> None:
    cluster = HandCluster(3)
    cluster.elect(A)
    answers = list[Membership | ReplicatorError]()

    cluster[B].replica.forwards.ask(A, MEMBER_CHANGE, SetMember(a_member(D, MemberRole.OBSERVER)), answers.append)
    cluster.take(B)
    cluster.deliver()
    cluster.wait(0.2)

    assert granted(answers).get(D) is not None


def test_a_refused_request_says_why_also_through_another_node() -> None:
    cluster = HandCluster(1)
    for _ in range(20):
        cluster.clock.forward(0.1)
        cluster.take(A)
    answers = cluster.change(RemoveMember(NodeId(A)))

    assert "last voter" in refused(answers).message
    assert LAN.election_timeout_max_s > 0
