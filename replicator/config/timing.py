"""Timers of one Raft group, resolved from profile and overrides."""

from dataclasses import dataclass
from typing import Final

from replicator.config.schema import RaftSection
from replicator.model.errors import ConfigError

_PROFILES: Final = {"lan": (0.05, 0.3, 0.6), "wan": (0.15, 1.5, 3.0), "auto": (0.15, 1.5, 3.0)}  # auto begins as wan


@dataclass(frozen=True, slots=True)
class RaftTiming:
    """Seconds. A follower that hears nothing for a random time in [min, max] asks for an election.

    Raises ConfigError if the heartbeat leaves no room for two losses before an election.
    """

    heartbeat_s: float
    election_timeout_min_s: float
    election_timeout_max_s: float

    def __post_init__(self) -> None:
        if self.election_timeout_min_s <= 3 * self.heartbeat_s:
            raise ConfigError(
                "raft.election_timeout_min_s",
                f"must exceed three heartbeats ({3 * self.heartbeat_s:g} s), is {self.election_timeout_min_s:g}",
            )
        if self.election_timeout_max_s <= self.election_timeout_min_s:
            raise ConfigError(
                "raft.election_timeout_max_s",
                f"must exceed raft.election_timeout_min_s ({self.election_timeout_min_s:g} s), "
                f"is {self.election_timeout_max_s:g}",
            )


def resolve_timing(raft: RaftSection) -> RaftTiming:
    """The profile's timers, with the fields that the file sets put over them; for `auto`, those to begin with.

    Raises ConfigError.
    """
    heartbeat_s, election_min_s, election_max_s = _PROFILES[raft.profile]
    return RaftTiming(
        heartbeat_s=raft.heartbeat_s or heartbeat_s,
        election_timeout_min_s=raft.election_timeout_min_s or election_min_s,
        election_timeout_max_s=raft.election_timeout_max_s or election_max_s,
    )
