"""Settings of the wire: what makes no sense is refused."""

import pytest

from chaos.wire.bandwidth import Bandwidth
from chaos.wire.cut import Cut, CutMode, Direction
from chaos.wire.latency import Latency
from chaos.wire.loss import Loss
from chaos.wire.settings import LinkSettings


def test_a_one_way_cut_stalls_only_its_own_direction() -> None:
    cut = Cut(CutMode.STALL, Direction.FORWARD)
    assert cut.stalls(Direction.FORWARD)
    assert not cut.stalls(Direction.BACKWARD)
    assert not cut.refuses


def test_a_cut_both_ways_stalls_both() -> None:
    cut = Cut(CutMode.STALL)
    assert cut.stalls(Direction.FORWARD)
    assert cut.stalls(Direction.BACKWARD)


def test_a_reset_cannot_be_one_way() -> None:
    with pytest.raises(ValueError, match="one-way"):
        Cut(CutMode.RESET, Direction.FORWARD)


@pytest.mark.parametrize("make", [lambda: Latency(-1), lambda: Latency(61), lambda: Loss(1.5), lambda: Bandwidth(0)])
def test_impossible_settings_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        make()  # type: ignore[operator]


def test_a_round_trip_is_split_over_both_ways() -> None:
    settings = LinkSettings.round_trip(0.08)
    assert settings.forward.latency.delay_s == settings.backward.latency.delay_s == 0.04
    assert settings.round_trip_s == 0.08
