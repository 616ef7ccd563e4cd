"""Time of the group, as a client knows it: the latest that was told counts, unless an id was refused."""

import time

import pytest

from replicator.client.group_time import GroupTime
from replicator.model.errors import LOG_TIME_KEY, SessionExpired


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_it_goes_on_by_the_clients_own_clock(now_s: list[float]) -> None:
    group_time = GroupTime()
    group_time.heard(5_000_000)
    now_s[0] += 2.0
    assert group_time.now_ms() == 5_002_000


def test_a_node_that_lags_turns_it_back_no_more(now_s: list[float]) -> None:
    group_time = GroupTime()
    group_time.heard(5_000_000)
    group_time.heard(4_000_000)
    assert group_time.now_ms() == 5_000_000
    assert now_s == [1_000.0]


def test_a_refusal_tells_it_also_if_that_is_earlier(now_s: list[float]) -> None:
    group_time = GroupTime()
    group_time.heard(5_000_000)
    group_time.refused(SessionExpired("ahead", metadata={LOG_TIME_KEY: "4000000"}))
    assert group_time.now_ms() == 4_000_000
    group_time.refused(SessionExpired("of a node that tells none"))
    assert group_time.now_ms() == 4_000_000
    assert now_s == [1_000.0]


def test_before_anything_was_heard_it_is_early_enough_to_be_refused() -> None:
    group_time = GroupTime()
    assert group_time.now_ms() >= 1
    group_time.heard(0)
    assert group_time.now_ms() >= 1
