"""What can be wrong with a node, as probes and `replicator status` say it: the words by which operators look it up.

docs/operating.md tells for each what it means and what to do; tests/docs/test_conditions.py holds that none is missing.
"""

from dataclasses import dataclass
from enum import StrEnum


class Condition(StrEnum):
    """The value begins the text; what differs from case to case follows it."""

    STARTING = "starting"
    CATCHING_UP = "catching up"
    DRAINING = "draining"
    FAILED = "failed"
    REMOVED = "no longer a member"  # the node itself has applied its removal
    NOT_A_MEMBER = "not a member"  # another node knows of it
    REJECTED = "rejected by"
    NO_LEADER = "no leader known"
    NO_MAJORITY = "no majority"
    READ_ONLY = "read-only"
    NO_SNAPSHOT_ROOM = "no room for a snapshot"
    SNAPSHOT_TOO_LARGE = "a snapshot exceeds storage.size_max_mib"
    SNAPSHOT_NOT_MADE = "a snapshot could not be made"  # for another node
    SNAPSHOT_NOT_STORED = "a snapshot could not be stored"
    STATE_DIFFERS = "another state of the same log"
    NO_ANSWER = "no answer"  # of another node, to `status --all`


@dataclass(frozen=True, slots=True)
class Problem:
    """One condition, with the numbers of the case and what to do."""

    condition: Condition
    detail: str

    def __str__(self) -> str:
        return f"{self.condition}: {self.detail}"
