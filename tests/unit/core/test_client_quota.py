"""How many new clients one caller may bring."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.config.schema import LimitsSection
from replicator.core.client_quota import BURST_S, CALLERS_MAX, RETRY_AFTER_S_MAX, ClientQuota, caller_of
from replicator.machine.sessions import TOUCH_MS
from replicator.model.limits import SESSION_IDLE_MS_MIN, SESSIONS_MAX

PER_S = 10


@given(st.lists(st.floats(0, 5), min_size=1, max_size=400))
def test_no_stretch_of_time_takes_more_than_the_rate_and_one_burst(pauses_s: list[float]) -> None:
    quota, now_s, taken_s = ClientQuota(PER_S), 0.0, list[float]()
    for pause_s in pauses_s:
        now_s += pause_s
        while quota.take("a", now_s) == 0.0:
            taken_s.append(now_s)
    for first, from_s in enumerate(taken_s):
        for count, at_s in enumerate(taken_s[first:], 1):
            assert count <= PER_S * (at_s - from_s + BURST_S) + 1 + 1e-6


def test_one_caller_does_not_use_up_what_another_may_take() -> None:
    quota = ClientQuota(PER_S)
    flood = [quota.take("a", 0.0) for _ in range(10 * PER_S * int(BURST_S))]
    assert PER_S * BURST_S <= flood.count(0.0) <= PER_S * BURST_S + 1
    assert quota.take("b", 0.0) == 0.0


def test_who_is_refused_is_spread_over_the_time_in_which_it_can_be_taken() -> None:
    quota = ClientQuota(PER_S)
    while quota.take("a", 0.0) == 0.0:
        pass
    told_s = [quota.take("a", 0.0) for _ in range(10 * PER_S)]
    assert told_s[:5] == pytest.approx([told_s[0] + n / PER_S for n in range(5)])
    assert max(told_s) == RETRY_AFTER_S_MAX
    assert quota.take("a", told_s[0]) == 0.0, "who comes back when it was told to is taken"


def test_callers_are_bounded_and_the_longest_quiet_is_forgotten_first() -> None:
    quota = ClientQuota(1)
    while quota.take("busy", 0.0) == 0.0:
        pass
    for number in range(2 * CALLERS_MAX):
        quota.take(str(number), 0.0)
        assert quota.take("busy", 0.0) > 0.0, "who asks all the time is not forgotten"
    assert len(quota) == CALLERS_MAX


@pytest.mark.parametrize(
    ("host", "caller"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", ""),
    ],
)
def test_a_caller_of_ipv6_is_its_network(host: str, caller: str) -> None:
    assert caller_of(host) == caller


@pytest.mark.parametrize("nodes", [1, 3, 4])
def test_by_default_one_caller_cannot_fill_the_memory_for_clients_through_all_nodes(nodes: int) -> None:
    """A place is free again once its client was idle for so long; docs/operating.md says what larger groups set."""
    kept_s = (SESSION_IDLE_MS_MIN + TOUCH_MS) / 1000
    at_most = LimitsSection().new_clients_per_address_per_s_max * (BURST_S + kept_s)
    assert nodes * (at_most + 1) < 0.85 * SESSIONS_MAX
