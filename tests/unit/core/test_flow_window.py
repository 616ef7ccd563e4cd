"""The window between its bounds; how it behaves on a path is told in tests/unit/engine/test_progress.py."""

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.flow_window import BATCH_BYTES_MIN, DRAIN_EVERY_S, FlowLimits, FlowWindow, Sending

MIB = 1 << 20


def test_before_anything_is_known_the_floor_is_let_out() -> None:
    window = FlowWindow()

    assert (window.window_bytes, window.batch_bytes) == (MIB, BATCH_BYTES_MIN)
    assert window.has_room(MIB - 1)
    assert not window.has_room(MIB)


def test_a_ceiling_below_the_floor_is_kept() -> None:
    """Memory is the harder bound."""
    assert FlowWindow(FlowLimits(ceiling_bytes=MIB // 2)).window_bytes == MIB // 2


def test_the_window_is_twice_what_the_path_holds() -> None:
    """Here 10 MB, from a round trip of 0.5 s that brought 5 MB."""
    window = FlowWindow()
    window.answered(1.5, window.sending(1.0, 0), 5_000_000)

    assert window.window_bytes == 10_000_000
    assert window.batch_bytes == 10_000_000 // 16


QUEUED_BYTES = 3 * MIB


def kept_full(until_s: float) -> tuple[FlowWindow, float]:
    """A path that holds 2 MiB, with more than that under way until it is to be drained; and the time then."""
    window, now_s = FlowWindow(), 1.1
    window.answered(now_s, window.sending(1.0, 0), 2 * MIB)
    while window.has_room(QUEUED_BYTES) and now_s < until_s:
        window.answered(now_s + 0.2, window.sending(now_s, QUEUED_BYTES), 4 * MIB)
        now_s += 0.2
    return window, now_s


def test_after_some_seconds_with_a_queue_less_is_let_out_until_one_append_has_met_none() -> None:
    window, now_s = kept_full(until_s=3 * DRAIN_EVERY_S)
    assert DRAIN_EVERY_S < now_s < 2 * DRAIN_EVERY_S
    assert not window.has_room(int(window.held_bytes))
    little_bytes = int(window.held_bytes / 4)
    assert window.has_room(little_bytes)
    window.answered(now_s + 0.1, window.sending(now_s, little_bytes), MIB)

    assert window.has_room(QUEUED_BYTES)


def test_a_lost_link_ends_the_wait_for_an_empty_path() -> None:
    window, _now_s = kept_full(until_s=3 * DRAIN_EVERY_S)
    assert not window.has_room(QUEUED_BYTES)
    window.void()

    assert window.has_room(QUEUED_BYTES)


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(("send", "answer", "dry", "void")),
            st.sampled_from((0.0, 0.0001, 0.03, 1.0, 20.0)),
            st.integers(1, 4 * MIB),
        ),
        max_size=80,
    ),
    ceiling_bytes=st.integers(1, 64 * MIB),
)
def test_whatever_happens_the_window_keeps_its_bounds_and_never_closes(
    steps: list[tuple[str, float, int]], ceiling_bytes: int
) -> None:
    limits = FlowLimits(ceiling_bytes=ceiling_bytes)
    window, now_s, flying = FlowWindow(limits), 1.0, list[tuple[Sending, int]]()
    for kind, forward_s, payload_bytes in steps:
        now_s += forward_s
        in_flight_bytes = sum(size for _sending, size in flying)
        if kind == "send":
            flying.append((window.sending(now_s, in_flight_bytes), payload_bytes))
        elif kind == "dry":
            window.nothing_to_send(in_flight_bytes)
        elif kind == "void":
            flying.clear()
            window.void()
        elif flying:
            sending, size = flying.pop(0)
            window.answered(now_s, sending, size)
        assert min(limits.floor_bytes, ceiling_bytes) <= window.window_bytes <= ceiling_bytes
        assert BATCH_BYTES_MIN <= window.batch_bytes <= limits.batch_bytes_max
        assert window.has_room(0)
        assert not window.has_room(ceiling_bytes)
