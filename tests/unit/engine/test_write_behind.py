"""What must be on disk at once, and what may wait for the commit of a later turn."""

import pytest

from replicator.engine.write_behind import STATE_DELAY_S_MAX
from replicator.model.members import MemberRole, SetMember
from tests.support.commands import put
from tests.support.members import a_member
from tests.support.replicas import NAMES, HandCluster, HandNode

A = NAMES[0]


@pytest.fixture
def leader() -> HandNode:
    """Alone, and at rest: all that its election changed is on its disk."""
    leader = HandCluster(1).elect(A)
    for _ in range(3):
        leader.wait(STATE_DELAY_S_MAX)
    assert leader.replica.unwritten() is None
    return leader


def propose(leader: HandNode) -> list[object]:
    """The results of a put, once it has them; its entry is on disk, and not known to be committed."""
    results: list[object] = []
    leader.replica.proposals.offer(put(b"k"), results.append)
    turn = leader.open()
    assert turn.write.append
    assert turn.must_commit
    leader.close(turn)
    assert not results
    return results


def test_an_answer_waits_for_no_further_commit(leader: HandNode) -> None:
    results, commit_index = propose(leader), leader.disk.state.commit_index

    turn = leader.open()
    leader.close(turn)

    assert (len(turn.write.apply), turn.must_commit, len(results)) == (1, False, 1)
    assert leader.disk.state.commit_index == commit_index < leader.replica.commit_index


def test_what_waits_is_stored_before_long(leader: HandNode) -> None:
    propose(leader)
    leader.turn()
    assert leader.replica.next_due_s() <= leader.clock.monotonic_s() + STATE_DELAY_S_MAX

    leader.clock.forward(STATE_DELAY_S_MAX)
    turn = leader.open()
    leader.close(turn)

    assert turn.must_commit
    assert leader.disk.state.commit_index == leader.replica.commit_index
    assert leader.replica.unwritten() is None


def test_it_goes_with_the_next_entry(leader: HandNode) -> None:
    propose(leader)
    leader.turn()
    known = leader.replica.commit_index
    propose(leader)

    assert leader.disk.state.commit_index == known


def test_who_needs_it_on_disk_can_hurry_it(leader: HandNode) -> None:
    propose(leader)
    leader.turn()

    leader.replica.store_soon()
    assert leader.replica.next_due_s() <= leader.clock.monotonic_s()
    turn = leader.open()
    leader.close(turn)

    assert turn.must_commit
    assert leader.disk.state.commit_index == leader.replica.commit_index


def test_hurrying_where_nothing_waits_commits_nothing(leader: HandNode) -> None:
    leader.replica.store_soon()

    assert not leader.open().must_commit


def test_what_waits_can_be_stored_at_the_end(leader: HandNode) -> None:
    propose(leader)
    leader.turn()

    write = leader.replica.unwritten()
    assert write is not None
    leader.disk.commit(write)

    assert leader.disk.state.commit_index == leader.replica.commit_index


def test_a_change_of_the_group_does_not_wait(leader: HandNode) -> None:
    """Later turns count majorities by it: a restart must not bring the earlier membership back."""
    leader.replica.members.ask(SetMember(a_member("z", MemberRole.OBSERVER)), lambda _result: None)
    leader.turn()

    turn = leader.open()
    leader.close(turn)

    assert turn.write.apply
    assert turn.must_commit
