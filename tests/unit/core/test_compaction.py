"""The log stays within its bounds, and nothing that is not applied ever goes."""

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.compaction import CUT_ENTRIES_MAX, ENTRIES_MIN, LOOK_EVERY_ENTRIES, CompactionPolicy
from replicator.model.ids import LogIndex


def test_a_short_log_is_left_alone() -> None:
    policy = CompactionPolicy(entries_max=100, bytes_max=1 << 30)

    assert policy.first_to_keep(LogIndex(1), LogIndex(100), LogIndex(100), None) is None


def test_a_log_beyond_its_entries_is_cut_to_them() -> None:
    policy = CompactionPolicy(entries_max=100, bytes_max=1 << 30)

    assert policy.first_to_keep(LogIndex(1), LogIndex(200), LogIndex(200), None) == 101


def test_what_is_not_applied_stays() -> None:
    policy = CompactionPolicy(entries_max=10, bytes_max=1 << 30)

    assert policy.first_to_keep(LogIndex(1), LogIndex(200), LogIndex(50), None) == 50


def test_a_log_beyond_its_bytes_is_cut_by_more_than_the_excess() -> None:
    policy = CompactionPolicy(entries_max=10**9, bytes_max=1000)

    kept_from = policy.first_to_keep(LogIndex(1), LogIndex(1001), LogIndex(1001), 2000)

    assert kept_from == 751  # half is too much; half as much again goes with it


def test_the_size_is_looked_at_now_and_then() -> None:
    """Asking costs a read transaction, so it is not asked in every turn."""
    policy = CompactionPolicy(entries_max=10**9, bytes_max=1000)
    assert policy.wants_size(LogIndex(LOOK_EVERY_ENTRIES))

    policy.first_to_keep(LogIndex(1), LogIndex(LOOK_EVERY_ENTRIES), LogIndex(1), 10)

    assert not policy.wants_size(LogIndex(2 * LOOK_EVERY_ENTRIES - 1))
    assert policy.wants_size(LogIndex(2 * LOOK_EVERY_ENTRIES))


@given(
    first=st.integers(1, 1000),
    length=st.integers(0, 5000),
    applied=st.integers(0, 5000),
    entries_max=st.integers(1, 2000),
    log_bytes=st.none() | st.integers(0, 10_000),
)
def test_a_cut_is_worth_it_and_never_passes_what_is_applied(
    first: int, length: int, applied: int, entries_max: int, log_bytes: int | None
) -> None:
    last = first + length
    policy = CompactionPolicy(entries_max=entries_max, bytes_max=5000)

    applied_index = LogIndex(first + min(applied, length))
    kept_from = policy.first_to_keep(LogIndex(first), LogIndex(last), applied_index, log_bytes)

    if kept_from is not None:
        assert first + ENTRIES_MIN <= kept_from <= applied_index
    elif log_bytes is None and applied_index == last:
        assert last - first < entries_max + ENTRIES_MIN


def test_a_long_cut_is_made_in_steps() -> None:
    """No turn pays for more than a bounded deletion, and steps end where the bound wants them."""
    policy, first = CompactionPolicy(entries_max=100, bytes_max=1 << 30), LogIndex(1)

    steps = 0
    while (kept_from := policy.first_to_keep(first, LogIndex(5000), LogIndex(5000), None)) is not None:
        assert kept_from - first <= CUT_ENTRIES_MAX
        first, steps = kept_from, steps + 1

    assert (first, steps) == (4901, 5)
