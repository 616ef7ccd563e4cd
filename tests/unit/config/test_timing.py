"""Profiles and overrides resolve to timers that leave room for two lost heartbeats."""

from replicator.config.schema import RaftSection
from replicator.config.timing import RaftTiming, resolve_timing


def test_the_profiles_are_those_that_the_documents_promise() -> None:
    assert resolve_timing(RaftSection(profile="lan")) == RaftTiming(0.05, 0.3, 0.6)
    assert resolve_timing(RaftSection(profile="wan")) == RaftTiming(0.15, 1.5, 3.0)
    assert resolve_timing(RaftSection(profile="auto")) == RaftTiming(0.15, 1.5, 3.0)  # until the leader knows better


def test_a_field_that_is_set_wins_over_the_profile_and_leaves_the_others() -> None:
    timing = resolve_timing(RaftSection(profile="wan", election_timeout_max_s=5.0))

    assert timing == RaftTiming(0.15, 1.5, 5.0)
