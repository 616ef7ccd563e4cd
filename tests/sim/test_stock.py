"""The same world with the guard off: PySyncObj as it comes breaks what the guarded engine keeps."""

import re

import pytest

from chaos.simulation.world import Scenario, simulate

WITHIN = 40  # about one seed in eight shows it
SEEN_AS = "went back from|have on disk|not converged|is lost|elsewhere"


def test_stock_is_caught_within_forty_seeds(caplog: pytest.LogCaptureFixture) -> None:
    """By what it does to the log, not by the reads that it does not have."""
    caplog.set_level("CRITICAL")
    scenario = Scenario(engine="stock")
    found = next((verdict for seed in range(WITHIN) if (verdict := simulate(seed, scenario)).violation), None)

    assert found is not None, f"not caught within {WITHIN} seeds"
    assert re.search(SEEN_AS, found.violation), found
    assert simulate(found.seed, scenario) == found, "and it replays"


def test_stock_serves_while_nothing_breaks(caplog: pytest.LogCaptureFixture) -> None:
    """Or it would be the world that breaks it."""
    caplog.set_level("CRITICAL")
    for seed in range(4):
        verdict = simulate(seed, Scenario(engine="stock", faulty_s=15.0, mix="calm"))
        assert not verdict.violation, verdict
        assert verdict.acknowledged > 10, verdict
