"""The clock of a node counts the time for which its machine is suspended."""

import time

import pytest

from replicator.node.clock import SystemClock


@pytest.mark.skipif(
    not hasattr(time, "CLOCK_BOOTTIME"), reason="Linux has it; elsewhere the exception in the docs holds"
)
def test_time_asleep_counts() -> None:
    before_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    read_s = SystemClock().monotonic_s()
    assert before_s <= read_s <= time.clock_gettime(time.CLOCK_BOOTTIME)
