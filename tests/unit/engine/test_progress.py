"""What is known of one peer's path, and what is let out on it: simulated paths, virtual time."""

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from replicator.core.flow_window import FlowLimits
from replicator.engine.raft.progress import Progress
from tests.support.paths import MIB, Path

ROUND_TRIPS_TO_LEARN = 20
ROOMY = FlowLimits(ceiling_bytes=256 * MIB)

paths = pytest.mark.parametrize(
    ("rate", "round_trip_s"),
    [(1e6, 0.001), (1e8, 0.001), (1e7, 0.02), (1e8, 0.02), (1e6, 0.1), (3e7, 0.1), (1e8, 0.1), (5e7, 0.3)],
)


def learnt(path: Path) -> Path:
    path.run(ROUND_TRIPS_TO_LEARN * (path.round_trip_s + 2 * path.sync_s + path.turn_s))
    return path


# The window on a path -----------------------------------------------------------------------------------------------


@paths
def test_a_path_is_full_within_twenty_round_trips_and_stays_so(rate: float, round_trip_s: float) -> None:
    """Nine tenths of what it can carry, drains included; and what is under way is at most three times what it holds."""
    path = learnt(Path(rate, round_trip_s, limits=ROOMY))
    for _ in range(5):
        delivered = path.run(8.0)
        assert delivered >= 0.9 * rate
        assert path.peak_bytes <= max(3 * path.holds_bytes, MIB) + MIB / 4


@given(
    rate=st.floats(1e5, 1e8),
    round_trip_s=st.floats(0.0005, 0.3),
    sync_s=st.sampled_from((0.0, 0.002, 0.01, 0.03)),
    turn_s=st.sampled_from((0.0, 0.003, 0.01)),
)
@settings(max_examples=20, deadline=None, phases=(Phase.explicit, Phase.generate))  # to shrink would take minutes
def test_a_follower_that_answers_after_each_sync_does_not_slow_the_path(
    rate: float, round_trip_s: float, sync_s: float, turn_s: float
) -> None:
    """Its answers come in bunches, and so do those that a busy leader takes. What is under way stays bounded."""
    path = learnt(Path(rate, round_trip_s, sync_s=sync_s, turn_s=turn_s, limits=ROOMY))

    assert path.run(20.0) >= 0.88 * rate
    assert path.peak_bytes <= max(4 * path.holds_bytes, MIB) + MIB / 4


def test_a_slow_peer_holds_no_more_than_the_ceiling() -> None:
    """A path that holds 300 MB, and 16 MiB to spend on it."""
    path = learnt(Path(1e9, 0.3))
    path.run(5.0)

    assert path.peak_bytes <= 17 * MIB
    assert path.progress.flow.window_bytes == 16 * MIB


def test_a_path_that_became_faster_is_found_within_twenty_round_trips() -> None:
    path = learnt(Path(2e6, 0.1, limits=ROOMY))
    path.rate = 6e7
    learnt(path)

    assert path.run(5.0) >= 0.9 * 6e7


def test_a_path_that_became_slower_is_not_flooded_for_long() -> None:
    path = learnt(Path(6e7, 0.1, limits=ROOMY))
    path.rate = 6e6
    path.run(30.0)

    assert path.run(5.0) >= 0.9 * 6e6
    assert path.peak_bytes <= 3 * path.holds_bytes


@pytest.mark.parametrize("longer", [3.0, 10.0, 0.1])
def test_a_path_whose_length_changes_is_learnt_anew(longer: float) -> None:
    """Another route: the least round trip of the old one is forgotten."""
    path = learnt(Path(3e7, 0.03, limits=ROOMY))
    path.round_trip_s *= longer
    path.run(30.0)

    assert path.run(10.0) >= 0.9 * 3e7
    assert path.peak_bytes <= max(3 * path.holds_bytes, MIB) + MIB / 4


def test_a_link_that_falls_again_and_again_loses_what_flew_and_no_more() -> None:
    path = learnt(Path(3e7, 0.1, limits=ROOMY))
    for _ in range(5):
        path.lose_link()
        assert path.run(2.0) >= 0.9 * 3e7  # from the first round trip on, since the path is known
        assert path.peak_bytes <= 3 * path.holds_bytes


def test_after_a_rest_the_path_is_still_known() -> None:
    """Sparse writes say nothing of what the path can do."""
    path = learnt(Path(5e7, 0.1, backlog_bytes=1e9, limits=ROOMY))
    path.run(1e9 / 5e7 + 5.0)
    known = path.progress.flow.bytes_per_s
    for _ in range(200):
        path.offer(1000)
        path.run(0.3)
    assert path.progress.flow.bytes_per_s == known
    path.offer(10**9)
    path.run(0.5)

    assert path.run(5.0) >= 0.9 * 5e7


def test_batches_are_a_small_share_of_the_window() -> None:
    """So that a heartbeat does not wait behind a large one on a thin path."""
    thin, wide = learnt(Path(1e6, 0.1)), learnt(Path(1e9, 0.1))

    assert thin.progress.flow.batch_bytes == 64 << 10
    assert wide.progress.flow.batch_bytes == 1 * MIB


# Round trips --------------------------------------------------------------------------------------------------------


def test_one_round_trip_is_sampled_once_however_many_appends_it_carries() -> None:
    """The smoothing is meant for one sample a round trip (RFC 6298)."""
    progress = Progress()
    for _ in range(50):
        progress.next_sequence(10, 1.0)
    for sequence in range(1, 51):
        progress.answered(sequence, 1.2)
    assert progress.round_trip.samples == 1
    progress.answered(progress.next_sequence(0, 2.0), 2.1)

    assert progress.round_trip.samples == 2


def test_heartbeats_measure_the_path_at_rest() -> None:
    path = Path(1e8, 0.08, backlog_bytes=0)
    for _ in range(40):
        path.beat()
        path.run(0.1)

    assert path.progress.round_trip.samples >= 39
    assert path.progress.round_trip.upper_s == pytest.approx(0.08, rel=0.02)


def test_an_answer_to_a_later_append_says_nothing_of_how_long_an_earlier_one_took() -> None:
    """The first one's answer was lost with a link, say; what is dated is the one that was answered."""
    progress = Progress()
    progress.next_sequence(10, 1.0)
    progress.answered(progress.next_sequence(10, 5.0), 5.1)

    assert progress.round_trip.smoothed_s == pytest.approx(0.1)


def test_an_append_that_was_refused_delivered_nothing() -> None:
    """What was sent before it may be lost: a full queue dropped it."""
    progress = Progress()
    for _ in range(10):
        progress.next_sequence(1000, 1.0)
    progress.answered(10, 1.1, arrived=False)

    assert progress.flow.bytes_per_s == 0.0
    assert progress.in_flight_bytes == 0


def test_a_new_term_measures_round_trips_anew_and_keeps_what_the_path_carries() -> None:
    progress = Progress()
    progress.answered(progress.next_sequence(1000, 1.0), 1.1)
    progress.restart()

    assert progress.round_trip.samples == 0
    assert progress.flow.bytes_per_s == pytest.approx(10_000)
