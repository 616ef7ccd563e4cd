"""Log time continues from the log, under any leader, and counts what has elapsed since; calendars hardly bend it."""

import random
from dataclasses import dataclass, replace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.core.log_clock import FIRST_MS_MIN
from replicator.engine.replica import Replica
from replicator.machine import sessions
from replicator.machine.codec import decode_entry, encode_entry, entry_time_ms
from replicator.machine.outcomes import APPLIED, CommandOutcome, outcome_at
from replicator.model.ids import LogIndex, NodeId, Term
from replicator.model.limits import (
    FORMAT_LIMITS,
    FORMAT_LIMITS_NUMBER,
    LOG_TIME_MS_MAX,
    SESSION_IDLE_MS_MAX,
    SESSION_IDLE_MS_MIN,
    FormatLimits,
)
from replicator.model.log import Entry, HardState
from replicator.v1 import store_pb2
from tests.support.commands import by, put
from tests.support.replicas import NAMES, HandClock, HandCluster, HandDisk, HandNode

A, B, C = NAMES[:3]
NOON_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
YEAR_MS = 365 * 24 * HOUR_MS
ROUNDING_MS = 1.01


@dataclass
class Calendar(HandClock):
    """Counts the seconds of another clock, and shows a calendar of its own."""

    seconds: HandClock
    off_ms: int = 0
    shows_ms: int | None = None  # it stands still

    @property
    def now_s(self) -> float:  # type: ignore[override]
        return self.seconds.now_s

    def wall_ms(self) -> int:
        return self.seconds.wall_ms() + self.off_ms if self.shows_ms is None else self.shows_ms


def restarted(cluster: HandCluster, name: NodeId) -> HandNode:
    cluster[name].restart()
    for peer in cluster.nodes:
        if peer != name:
            cluster.connect(name, peer)
    return cluster[name]


def with_calendars(count: int = 3, **off_ms: int) -> tuple[HandCluster, dict[NodeId, Calendar]]:
    """off_ms: by name, how wrong each calendar is from the start."""
    cluster = HandCluster(count)
    calendars = {name: Calendar(cluster.clock, off_ms.get(name, 0)) for name in cluster.nodes}
    for name, node in cluster.nodes.items():
        node.clock = calendars[name]
        restarted(cluster, name)
    return cluster, calendars


def written_ms(cluster: HandCluster) -> int:
    """Log time of one more write."""
    leader = cluster.leader()
    index = cluster.write(b"k")
    time_ms = entry_time_ms(leader.disk.entries[index - 1].payload)
    assert time_ms is not None
    return time_ms


def write_of(cluster: HandCluster, number: int, sequence: int = 1) -> CommandOutcome:
    """One write of a client, by its number, at the leader."""
    answers: list[object] = []
    leader = cluster.leader()
    name = by(number, sequence, issued_ms=leader.replica.log_time.now_ms())
    leader.replica.proposals.offer(put(b"k", b"v", name), answers.append)
    cluster.take(leader.node_id)
    cluster.deliver()
    assert isinstance(answers[0], store_pb2.BatchOutcome), answers
    return outcome_at(answers[0], 0)


def limit_sessions(patch: pytest.MonkeyPatch, most: int) -> None:
    """A group of which the format allows so many clients."""
    few = replace(FORMAT_LIMITS[FORMAT_LIMITS_NUMBER], sessions_max=most)
    patch.setitem(cast("dict[int, FormatLimits]", FORMAT_LIMITS), FORMAT_LIMITS_NUMBER, few)


def idle(cluster: HandCluster, seconds: float) -> None:
    """Nobody does anything for so long. An old leader that nobody heard gives up; somebody leads when this returns."""
    cluster.clock.forward(seconds)
    cluster.wait(1.0)
    for _ in range(600):
        if sum(node.replica.pump.knows_commit_index() for node in cluster.nodes.values()) == 1:
            return
        cluster.wait(0.1)
    raise AssertionError("nobody was elected")


def test_a_new_group_begins_at_the_calendar_of_its_first_leader() -> None:
    cluster, calendars = with_calendars(n1=HOUR_MS)
    cluster.elect(A)
    assert written_ms(cluster) == calendars[A].wall_ms()


def test_a_calendar_that_was_never_set_begins_no_group() -> None:
    cluster, _ = with_calendars(n1=-53 * YEAR_MS)
    cluster.elect(A)
    assert written_ms(cluster) == FIRST_MS_MIN


def test_every_node_tells_the_time_that_the_leader_would_write_and_writes_nothing_by_it() -> None:
    cluster, _ = with_calendars(n2=HOUR_MS)
    cluster.elect(A)
    written_ms(cluster)
    cluster.wait(2.0)
    told = [node.replica.log_time.now_ms() for node in cluster.nodes.values()]
    assert written_ms(cluster) == pytest.approx(told[0], abs=ROUNDING_MS)
    assert max(told) - min(told) <= 0.1 * 2_000 + ROUNDING_MS, "a calendar that is wrong bends it by a tenth"


@pytest.mark.parametrize("off_ms", [10 * YEAR_MS, -10 * YEAR_MS, HOUR_MS, -HOUR_MS])
def test_a_node_that_was_started_with_a_wrong_calendar_bends_log_time_by_a_tenth_and_no_more(off_ms: int) -> None:
    cluster, _ = with_calendars(n2=off_ms)
    cluster.elect(A)
    first_ms, began_s = written_ms(cluster), cluster.clock.now_s
    for leader in (B, C, B):
        cluster.elect(leader)
        for _ in range(3):
            time_ms = written_ms(cluster)
            elapsed_ms = (cluster.clock.now_s - began_s) * 1000
            assert 0.9 * elapsed_ms - 10 <= time_ms - first_ms <= 1.1 * elapsed_ms + ROUNDING_MS
            cluster.wait(2.0)


def test_the_time_since_the_last_entry_counts_although_its_leader_is_gone() -> None:
    cluster, _ = with_calendars()
    cluster.elect(A)
    first_ms, began_s = written_ms(cluster), cluster.clock.now_s
    cluster.clock.forward(600.0)
    cluster.elect(B)
    assert written_ms(cluster) - first_ms == pytest.approx((cluster.clock.now_s - began_s) * 1000, abs=2)


def test_a_stopped_calendar_stops_nothing() -> None:
    cluster, calendars = with_calendars()
    cluster.elect(A)
    first_ms, began_s = written_ms(cluster), cluster.clock.now_s
    calendars[A].shows_ms = calendars[A].wall_ms()
    cluster.wait(10.0)
    elapsed_ms = (cluster.clock.now_s - began_s) * 1000
    assert written_ms(cluster) - first_ms == pytest.approx(0.9 * elapsed_ms, abs=2)


def test_many_entries_in_a_millisecond_lose_no_time() -> None:
    cluster, _ = with_calendars(n1=-YEAR_MS)
    cluster.elect(A)
    first_ms, began_s = written_ms(cluster), cluster.clock.now_s
    for _ in range(300):
        cluster.clock.forward(0.0003)
        last_ms = written_ms(cluster)
    elapsed_ms = (cluster.clock.now_s - began_s) * 1000
    assert 0.9 * elapsed_ms - ROUNDING_MS <= last_ms - first_ms <= elapsed_ms + ROUNDING_MS


def with_an_entry_to_lose() -> tuple[Replica, int, int]:
    """A node whose newest entry no majority has, log time before that entry, and the time that it carries."""
    cluster, _ = with_calendars()
    cluster.elect(A)
    settled_ms = written_ms(cluster)
    forged_ms = settled_ms + HOUR_MS
    node, journal = cluster[C].replica, cluster[C].replica.journal
    journal.add(encode_entry(forged_ms, [put(b"lost")]), journal.last_index + 1, node.graft.term)
    node.log_time.look()
    return node, settled_ms, forged_ms


def test_what_a_truncation_takes_away_is_not_continued() -> None:
    """A leader writes on unheard by a majority; one node has its entry, and loses it to the next leader."""
    node, settled_ms, forged_ms = with_an_entry_to_lose()
    journal = node.journal
    assert node.log_time.stamp(Term(9)).time_ms >= forged_ms, "this node would continue from it"
    journal.deleteEntriesFrom(journal.last_index - journal.first_index)

    assert settled_ms <= node.log_time.stamp(Term(9)).time_ms < forged_ms


def test_what_is_truncated_and_replaced_and_committed_in_one_turn_is_not_continued() -> None:
    """A node that stood still hears of all that at once. Found by the simulation, once it ran the turn loop."""
    node, settled_ms, forged_ms = with_an_entry_to_lose()
    journal, place = node.journal, node.journal.last_index
    journal.deleteEntriesFrom(place - journal.first_index)
    journal.add(encode_entry(settled_ms + 5, [put(b"kept")]), place, node.graft.term + 1)
    journal.setRaftCommitIndex(place)
    node.log_time.look()

    assert settled_ms <= node.log_time.stamp(Term(9)).time_ms < forged_ms


def test_an_entry_carries_what_the_calendar_of_its_leader_showed() -> None:
    cluster, calendars = with_calendars(n1=YEAR_MS)
    cluster.elect(A)
    cluster.write(b"k")
    calendars[A].shows_ms = -5
    cluster.write(b"k")
    batches = [decode_entry(entry.payload) for entry in cluster[B].disk.entries]
    walls = [batch.wall_ms for batch in batches if batch is not None]
    assert walls == [calendars[B].wall_ms() + YEAR_MS, 0], "a calendar before 1970 is no time"


def test_a_time_that_no_leader_writes_is_passed_over_by_leader_and_store() -> None:
    forged = Entry(encode_entry((1 << 64) - 1, [put(b"k")]), LogIndex(2), Term(1))
    disk = HandDisk(
        [Entry(encode_entry(NOON_MS, [put(b"k")]), LogIndex(1), Term(1)), forged],
        HardState(Term(1), None, LogIndex(0)),
    )
    node = HandNode(A, [], disk=disk)
    for _ in range(100):
        node.wait(0.1)
        if node.replica.graft.is_leader and node.replica.applied_index == node.replica.journal.last_index > 2:
            break
    node.replica.proposals.offer(put(b"k"), lambda _outcome: None)
    node.turn()
    node.turn()
    last_ms = entry_time_ms(disk.entries[-1].payload)
    assert last_ms is not None
    assert NOON_MS <= last_ms <= NOON_MS + 11_000 < LOG_TIME_MS_MAX
    assert disk.store.time_ms in (NOON_MS, last_ms)


# Clients -------------------------------------------------------------------------------------------------------------


def ahead_by_years() -> HandCluster:
    """A group that began under a calendar ten years ahead, which is right by now."""
    cluster, calendars = with_calendars(n1=10 * YEAR_MS)
    cluster.elect(A)
    write_of(cluster, 1)
    calendars[A].off_ms = 0
    return cluster


def test_a_store_that_is_years_ahead_forgets_idle_clients_by_elapsed_time() -> None:
    cluster = ahead_by_years()
    idle_ms = (SESSION_IDLE_MS_MAX + sessions.TOUCH_MS) / 0.9
    idle(cluster, 0.8 * idle_ms / 1000)
    cluster.write(b"k")
    assert cluster.leader().disk.store.session_count() == 1
    idle(cluster, 0.2 * idle_ms / 1000 + 1.0)
    cluster.write(b"k")
    assert cluster.leader().disk.store.session_count() == 0


def test_a_full_table_of_clients_makes_room_also_in_a_store_that_is_years_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit_sessions(monkeypatch, 3)
    cluster = ahead_by_years()
    assert [write_of(cluster, number).status for number in (2, 3)] == [APPLIED] * 2
    assert write_of(cluster, 4).reason == "OVERLOADED"
    idle(cluster, (SESSION_IDLE_MS_MIN + sessions.TOUCH_MS) / 900 + 1.0)
    assert write_of(cluster, 4).status == APPLIED


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 1 << 32))
def test_whatever_calendars_and_leaders_do_a_full_table_makes_room_in_time(seed: int) -> None:
    """And log time keeps its bounds from each entry to the next."""
    dice = random.Random(seed)
    errors = (500, HOUR_MS, 10 * YEAR_MS)
    with pytest.MonkeyPatch.context() as patch:
        limit_sessions(patch, 2)
        cluster, calendars = with_calendars(**{name: dice.randint(-1, 1) * dice.choice(errors) for name in NAMES[:3]})
        cluster.elect(A)
        write_of(cluster, 1)
        write_of(cluster, 2)
        last_ms, last_s = written_ms(cluster), cluster.clock.now_s
        for _ in range(dice.randint(1, 5)):
            name = dice.choice(NAMES[:3])
            calendars[name].off_ms = dice.randint(-1, 1) * dice.choice(errors)
            calendars[name].shows_ms = dice.choice((None, calendars[name].wall_ms()))
            idle(cluster, dice.choice((0.001, 10.0, 10_000.0)) * dice.random())
            time_ms, now_s = written_ms(cluster), cluster.clock.now_s
            assert last_ms <= time_ms <= last_ms + 1100 * (now_s - last_s) + ROUNDING_MS
            last_ms, last_s = time_ms, now_s
        idle(cluster, (SESSION_IDLE_MS_MIN + sessions.TOUCH_MS) / 900 + 1.0)
        assert write_of(cluster, 3).status == APPLIED
