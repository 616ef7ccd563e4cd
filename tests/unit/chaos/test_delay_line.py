"""The delay line: what goes in comes out, complete, in order, and never early."""

import random

from hypothesis import given
from hypothesis import strategies as st

from chaos.wire.bandwidth import Bandwidth
from chaos.wire.delay_line import DelayLine, End
from chaos.wire.latency import Latency
from chaos.wire.loss import TRIES_MAX, Loss
from chaos.wire.settings import LineSettings


def a_line(settings: LineSettings | None = None, seed: int = 1) -> DelayLine:
    return DelayLine(settings or LineSettings(), random.Random(seed))


def test_a_piece_arrives_after_the_latency_and_not_before() -> None:
    line = a_line(LineSettings(latency=Latency(0.1)))
    line.push(b"hello", now_s=5.0)

    assert line.pop_due(5.099) == []
    assert line.next_arrival_s == 5.1
    assert line.pop_due(5.1) == [b"hello"]
    assert line.next_arrival_s is None


def test_without_any_disturbance_a_piece_arrives_at_once() -> None:
    line = a_line()
    line.push(b"now", now_s=1.0)
    assert line.pop_due(1.0) == [b"now"]


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=20), max_size=40),
    gaps=st.lists(st.floats(0, 0.2), min_size=40, max_size=40),
    seed=st.integers(0, 10_000),
    jitter_s=st.floats(0, 0.5),
)
def test_jitter_and_loss_never_reorder_drop_or_repeat_bytes(
    pieces: list[bytes], gaps: list[float], seed: int, jitter_s: float
) -> None:
    """Retransmission makes bytes late, never wrong; a piece given up on ends the stream instead of leaving a hole."""
    line = a_line(LineSettings(latency=Latency(0.05, jitter_s), loss=Loss(0.2)), seed)
    now_s, sent = 0.0, b""
    arrived: list[bytes | End] = []
    for piece, gap_s in zip(pieces, gaps, strict=False):
        now_s += gap_s
        arrived += line.pop_due(now_s)
        if not line.push(piece, now_s):
            break
        sent += piece
    arrived += line.pop_due(now_s + 1000)

    assert b"".join(piece for piece in arrived if isinstance(piece, bytes)) == sent
    assert line.held_bytes == 0


def test_the_end_of_a_stream_arrives_behind_its_last_byte() -> None:
    line = a_line(LineSettings(latency=Latency(0.0, 1.0)))
    for number in range(20):
        line.push(bytes([number]), now_s=0.0)
    line.push(End.EOF, now_s=0.0)

    arrived = line.pop_due(10.0)
    assert arrived[-1] is End.EOF
    assert arrived[:-1] == [bytes([number]) for number in range(20)]


def test_a_narrow_line_sends_one_byte_after_the_other() -> None:
    line = a_line(LineSettings(bandwidth=Bandwidth(10_000.0)))
    line.push(b"a" * 10_000, now_s=0.0)
    line.push(b"b" * 5_000, now_s=0.0)

    assert line.pop_due(0.99) == []
    assert line.pop_due(1.0) == [b"a" * 10_000]
    assert line.next_arrival_s == 1.5


def test_shortening_the_line_does_not_let_later_bytes_overtake() -> None:
    line = a_line(LineSettings(latency=Latency(1.0)))
    line.push(b"first", now_s=0.0)
    line.settings = LineSettings(latency=Latency(0.0))
    line.push(b"second", now_s=0.1)

    assert line.pop_due(0.5) == []
    assert line.pop_due(1.0) == [b"first", b"second"]


def test_a_line_that_loses_everything_kills_the_connection() -> None:
    assert a_line(LineSettings(loss=Loss(1.0))).push(b"x", now_s=0.0) is False


def test_the_end_of_a_stream_cannot_be_lost() -> None:
    assert a_line(LineSettings(loss=Loss(1.0))).push(End.EOF, now_s=0.0) is True


def test_a_lost_piece_waits_longer_with_each_try() -> None:
    class LosesTwice(random.Random):
        draws = 0

        def random(self) -> float:
            self.draws += 1
            return 0.0 if self.draws <= 2 else 0.99

    assert Loss(0.5).draw_s(LosesTwice()) == 0.2 + 0.4
    assert TRIES_MAX > 2


def test_a_full_line_has_room_again_only_when_half_empty() -> None:
    line = a_line(LineSettings(latency=Latency(1.0), buffer_bytes_max=100))
    line.push(b"x" * 60, now_s=0.0)
    line.push(b"x" * 60, now_s=0.5)
    assert (line.is_full, line.has_room) == (True, False)
    line.pop_due(1.0)
    assert (line.is_full, line.has_room) == (False, False)
    line.pop_due(1.5)
    assert line.has_room


def test_a_narrow_line_holds_no_more_than_it_carries_in_a_short_time() -> None:
    """Otherwise a slow line would look fast to its sender until 64 MiB of memory were full."""
    narrow = LineSettings(latency=Latency(0.1), bandwidth=Bandwidth(1_000_000.0))
    assert narrow.hold_bytes_max == 350_000
    assert LineSettings(latency=Latency(0.1)).hold_bytes_max == 64 << 20
