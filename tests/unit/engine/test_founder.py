"""Groups that were founded apart: told from each other by their founder, and not founded where one exists."""

import logging
from dataclasses import replace

import pytest

from replicator.engine.calling.asking import whom_to_ask
from replicator.engine.events import RefusedBy
from replicator.engine.leading.request_table import MEMBER_CHANGE
from replicator.engine.raft.messages import decode
from replicator.machine.codec import GROUP_CHANGE, REGULAR
from replicator.machine.group_entries import encode_membership
from replicator.model.errors import OtherGroupsLog, ReplicatorError
from replicator.model.ids import LogIndex
from replicator.model.members import GROUP_SECRET_BYTES, MemberRole, Membership, SetMember
from replicator.v1 import raft_pb2, store_pb2
from tests.support.commands import put
from tests.support.members import a_member, voters
from tests.support.replicas import LAN, NAMES, HandCluster, HandNode
from tests.unit.engine.test_members import membership_at

A, B, C, D = NAMES[:4]
DISK = b"d" * 16
OTHER_SECRET = b"planted-secret-".ljust(GROUP_SECRET_BYTES, b"!")


def test_the_first_leader_founds_the_group_and_nobody_after_it_does() -> None:
    """By its data directory, which no other node has: so two groups of one name can be told apart."""
    cluster = HandCluster(3, is_founded=False)
    for number, (name, node) in enumerate(cluster.nodes.items()):
        settings = replace(node.settings, directory_id=b"%16d" % number)
        cluster.nodes[name] = HandNode(name, node.peers, clock=cluster.clock, settings=settings, seed=number)
    for one, other in ((A, B), (A, C), (B, C)):
        cluster.connect(one, other)
    cluster.elect(B)
    cluster.wait(0.2)
    assert {membership_at(node).founder for node in cluster.nodes.values()} == {b"%16d" % 1}

    cluster.elect(A)
    cluster.change(SetMember(a_member(D, MemberRole.OBSERVER)))
    cluster.wait(0.2)
    assert {membership_at(node).founder for node in cluster.nodes.values()} == {b"%16d" % 1}


def test_nodes_that_a_group_keeps_out_found_no_other_one() -> None:
    """By their files they are a majority; the group that exists says what counts."""
    cluster = HandCluster(3, is_founded=False)
    cluster.disconnect(A, C)
    cluster.disconnect(B, C)
    for name in (A, B):
        cluster.take(name, RefusedBy(C, DISK))
    cluster.wait(5 * LAN.election_timeout_max_s)

    assert {cluster[name].replica.graft.role for name in (A, B)} == {"follower"}
    assert {cluster[name].replica.graft.term for name in (A, B)} == {0}


def test_one_that_is_rejected_spoils_no_election_of_others_and_takes_part_once_it_is_accepted() -> None:
    cluster = HandCluster(3, is_founded=False)
    cluster.disconnect(B, C)
    cluster.take(C, RefusedBy(B, DISK))
    assert not cluster[C].replica.group.is_voter

    cluster.elect(A)
    cluster.write(b"k")
    cluster.wait(0.2)
    assert membership_at(cluster[C]).founder
    assert cluster[C].replica.group.is_voter


def test_who_is_let_in_again_takes_part_again() -> None:
    """All have lost their disks, one after the other: there is no group any more, and nobody is to be kept from one."""
    cluster = HandCluster(3, is_founded=False)
    for name in (A, B):
        cluster.take(name, RefusedBy(C, DISK))
    for one, other in ((A, C), (B, C)):
        cluster.connect(one, other)
    assert not cluster[A].replica.group.is_voter, "a link may yet be refused"
    cluster.wait(4 * LAN.election_timeout_max_s)

    assert cluster.leader().replica.graft.term > 0
    assert all(not node.replica.group.refused_by for node in cluster.nodes.values())


def test_a_candidate_that_is_rejected_does_not_win() -> None:
    cluster = HandCluster(3, is_founded=False)
    node = cluster.campaign(A)
    cluster.take(A, RefusedBy(C, DISK))
    cluster.deliver()

    assert node.replica.graft.role == "follower"


def test_the_refusal_of_another_group_means_nothing_to_a_member() -> None:
    cluster = HandCluster(1, is_founded=False, directory_id=DISK)
    node = cluster[A]
    cluster.wait(1.0)
    cluster.take(A, RefusedBy(B, b"o" * 16))
    assert node.replica.group.refused_by == set()
    cluster.take(A, RefusedBy(B, DISK))
    assert node.replica.group.refused_by == {B}, "its own group has removed it"


def test_a_membership_of_another_group_stops_the_node() -> None:
    cluster = HandCluster(1, is_founded=False, directory_id=DISK)
    node = cluster[A]
    cluster.wait(1.0)
    held = membership_at(node)
    for foreign in (
        replace(held, founder=b"o" * 16),
        replace(held, founder=b""),
        replace(held, secret=b""),
        replace(held, secret=OTHER_SECRET),
    ):
        with pytest.raises(OtherGroupsLog, match=r"entry 99 .* another group"):
            node.replica.group.check_origin(encode_membership(foreign), LogIndex(99))
    node.replica.group.check_origin(encode_membership(held), LogIndex(99))


def test_a_membership_of_another_group_is_never_applied() -> None:
    """Once in the store, it would be this node's own group after the next start."""
    cluster = HandCluster(3)
    cluster.elect(C)
    cluster.write(b"k")
    node = cluster[A]
    last, term = node.disk.entries[-1], node.replica.graft.term
    before = node.disk.store.membership
    foreign = replace(membership_at(node), founder=b"o" * 16)
    entry = raft_pb2.LogEntry(index=last.index + 1, term=term, payload=encode_membership(foreign))
    append = raft_pb2.AppendEntries(
        term=term,
        sequence=999,
        prev_index=last.index,
        prev_term=last.term,
        commit_index=entry.index,
        entries=[entry],
    )
    node.hear(C, append_entries=append)  # in the log, and applied by the next turn
    with pytest.raises(OtherGroupsLog):
        node.turn()
    node.restart()
    assert node.disk.store.membership == before


def test_a_leader_that_is_rejected_before_it_has_founded_anything_leads_no_more() -> None:
    cluster = HandCluster(3, is_founded=False)
    cluster.elect_unheard(A)
    cluster.take(A, RefusedBy(B, DISK))
    assert not cluster[A].replica.graft.is_leader


def test_a_member_of_a_group_does_not_care_who_keeps_it_out() -> None:
    cluster = HandCluster(1, is_founded=False, directory_id=DISK)
    node = cluster[A]
    cluster.wait(1.0)
    assert membership_at(node).founder == DISK
    cluster.take(A, RefusedBy(B, DISK))
    assert node.replica.graft.is_leader


def test_no_write_is_in_the_log_before_the_group_is_founded() -> None:
    """Else its token could not say whose log it is of. It waits in the queue, and nothing is refused."""
    cluster = HandCluster(3, is_founded=False)
    leader = cluster.elect_unheard(A)
    answers: list[store_pb2.BatchOutcome | ReplicatorError] = []
    leader.replica.proposals.offer(put(b"k"), answers.append)
    cluster.deliver()
    cluster.wait(0.2)

    assert [type(answer) for answer in answers] == [store_pb2.BatchOutcome]
    kinds = [entry.payload[0] for entry in leader.disk.entries]
    assert kinds.index(GROUP_CHANGE) < kinds.index(REGULAR)
    assert membership_at(leader).index < answers[0].index  # type: ignore[union-attr]


def test_a_node_that_does_not_know_its_founder_passes_no_question_on() -> None:
    """It could not give a token with the answer."""
    cluster = HandCluster(3, is_founded=False)
    cluster.hold = frozenset({(A, B)})
    cluster.elect(A)
    cluster.wait(0.1)
    assert whom_to_ask(cluster[C].replica) is not None
    assert not membership_at(cluster[B]).founder
    assert whom_to_ask(cluster[B].replica) is None


def test_the_founder_draws_the_secret_and_later_memberships_carry_it_on() -> None:
    cluster = HandCluster(3, is_founded=False, new_secret=lambda: OTHER_SECRET)
    cluster.elect(B)
    cluster.wait(0.2)
    cluster.elect(A)
    cluster.change(SetMember(a_member(D, MemberRole.OBSERVER)))
    cluster.wait(0.2)

    assert {membership_at(node).secret for node in cluster.nodes.values()} == {OTHER_SECRET}
    assert membership_at(cluster[A]).get(D) is not None


def test_a_group_of_an_older_release_gets_a_secret_and_keeps_its_founder() -> None:
    membership = replace(voters(A, B, C), founder=DISK)
    cluster = HandCluster(3, membership=membership, new_secret=lambda: OTHER_SECRET)
    cluster.elect(A)
    cluster.wait(0.2)

    assert {(membership_at(node).founder, membership_at(node).secret) for node in cluster.nodes.values()} == {
        (DISK, OTHER_SECRET)
    }


def test_the_secret_leaves_with_entries_only_never_with_an_answer_a_repr_or_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    cluster = HandCluster(3, is_founded=False, new_secret=lambda: OTHER_SECRET)
    said: list[raft_pb2.RaftMessage] = []
    cluster.elect(A)
    cluster.wait(0.2)
    answers: list[Membership | ReplicatorError] = []
    follower = cluster[B].replica
    follower.forwards.ask(A, MEMBER_CHANGE, SetMember(a_member(D, MemberRole.OBSERVER)), answers.append)
    cluster.take(B)
    while cluster.wire:
        said.append(decode(cluster.wire[0][1].payload))
        sender, out = cluster.wire.popleft()
        cluster.hand_over(sender, out)

    [answer] = answers
    assert isinstance(answer, Membership)
    assert answer.get(D) is not None
    assert answer.secret == b""
    bodies = {message.WhichOneof("body") for message in said if OTHER_SECRET in message.SerializeToString()}
    assert bodies == {"append_entries"}, "it must travel in the log, and nowhere else"
    own = membership_at(cluster[A])
    assert own.secret == OTHER_SECRET
    texts = (repr(own), str(own), repr(cluster[A].disk.entries), caplog.text)
    assert not [text for text in texts if OTHER_SECRET.decode() in text]
