"""Status: who leads, who trails, what the state hashes to."""

import asyncio
import threading

import pytest

from replicator.model.errors import DeadlineExceeded, Overloaded
from replicator.model.ids import LogIndex
from replicator.node.clock import SystemClock
from replicator.service.status import STATE_HASHES_WAITING_MAX, StatusService
from tests.support.memory_cluster import LAN, MemoryCluster
from tests.support.memory_replica import MemoryReplica


async def test_the_leader_tells_how_far_each_member_is() -> None:
    cluster = MemoryCluster()
    leader, follower = cluster.add("n1", "eu"), cluster.add("n2", "us")
    follower.hold()
    await leader.writes().put(b"k", b"v", None, timeout_s=1.0)

    status = await leader.statuses().status(state_hash=False, timeout_s=1.0)

    assert (status.role, status.leader_id, status.revision, status.live_keys) == ("leader", "n1", 1, 1)
    assert [(m.node_id, m.leader, m.connected, m.match_index, m.lag_entries) for m in status.members] == [
        ("n1", True, True, 2, 0),
        ("n2", False, True, 1, 1),
    ]


async def test_a_follower_does_not_pretend_to_know_the_others_progress() -> None:
    cluster = MemoryCluster()
    cluster.add("n1", "eu")
    follower = cluster.add("n2", "us")

    status = await follower.statuses().status(state_hash=False, timeout_s=1.0)

    assert [(m.match_index, m.lag_entries) for m in status.members] == [(None, None), (None, None)]


async def test_two_replicas_at_one_index_have_one_state_hash() -> None:
    cluster = MemoryCluster()
    leader, follower = cluster.add("n1", "eu"), cluster.add("n2", "us")
    await leader.writes().put(b"k", b"v", None, timeout_s=1.0)

    hashes = {
        (status.state_hash, status.state_hash_index, status.rolling_hash)
        for status in [await node.statuses().status(state_hash=True, timeout_s=1.0) for node in (leader, follower)]
    }

    assert len(hashes) == 1


class SlowReplica(MemoryReplica):
    """Hashes for as long as the test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = threading.Event()

    def state_hash(self) -> tuple[str, LogIndex]:
        assert self.may_end.wait(30)
        return super().state_hash()


async def test_a_state_hash_ends_with_its_callers_deadline_and_few_may_queue_for_one() -> None:
    node = MemoryCluster().add("n1", "eu")
    replica = SlowReplica()
    service = StatusService(node, node, replica, node.identity(), lambda: LAN, clock=SystemClock())
    try:
        waiting = [
            asyncio.create_task(service.status(state_hash=True, timeout_s=0.02))
            for _ in range(STATE_HASHES_WAITING_MAX)
        ]
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, DeadlineExceeded) for result in results), results

        with pytest.raises(Overloaded):
            await service.status(state_hash=True, timeout_s=1.0)
        assert (await service.status(state_hash=False, timeout_s=1.0)).node_id == "n1"
    finally:
        replica.may_end.set()
    while True:
        try:
            assert (await service.status(state_hash=True, timeout_s=5.0)).state_hash
            break
        except Overloaded:
            await asyncio.sleep(0)
