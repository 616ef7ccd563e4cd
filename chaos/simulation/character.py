"""What one seed is like: which faults, how often, how much load, what kind of disks. Drawn once, from the seed.

Runs that are all alike find the same things; a bug hides where faults of one kind crowd together.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from replicator.config.timing import RaftTiming

# Names are methods of `faults`. Every mix heals, or nothing would be left to break.
MIXES: Final[Mapping[str, Mapping[str, float]]] = {
    "everything": {
        "reset_link": 3.0, "cut_link": 1.5, "isolate": 1.0, "isolate_leader": 0.7, "split": 0.5, "ring": 0.3,
        "bridge": 0.3, "split_in_half": 0.4, "flap": 0.7, "stall": 1.0, "lose_frames": 0.7, "detour": 0.5,
        "heal_some": 3.0, "heal_all": 1.0, "crash": 1.0, "crash_all": 0.3, "blink": 0.7, "restart": 0.7,
        "cut_power": 0.7, "cut_all_power": 0.3, "break_disk": 0.4, "pause": 0.7, "sleep": 0.3, "transfer": 0.5,
        "slow_disk": 0.5, "full_disk": 0.3, "step_calendar": 0.2, "change_drift": 0.2, "depose": 0.5,
        "deafen_leader": 0.5, "late_answers": 0.5, "leave_and_return": 0.5, "stutter": 0.3, "hire_voter": 0.3,
        "hire_observer": 0.2, "remove_member": 0.3, "change_role": 0.2, "lose_disk": 0.2, "remove_heir": 0.1,
    },
    "elections": {
        "crash_leader": 2.0, "restart": 1.5, "blink": 3.0, "blink_all": 1.0, "pause_leader": 1.0, "transfer": 1.5,
        "isolate_leader": 1.5, "reset_link": 2.0, "heal_all": 4.0,
    },
    "partitions": {
        "cut_link": 3.0, "isolate": 1.5, "isolate_leader": 2.0, "split": 2.0, "split_in_half": 1.5, "ring": 1.0,
        "bridge": 1.0, "flap": 1.5, "reset_link": 2.0, "heal_some": 6.0, "heal_all": 1.0,
    },
    "slowness": {
        "stall": 3.0, "detour": 2.0, "slow_disk": 3.0, "full_disk": 0.7, "lose_frames": 3.0, "pause": 1.0,
        "sleep": 1.0, "change_drift": 0.5, "leave_and_return": 2.0, "stutter": 2.0, "reset_link": 1.0, "transfer": 0.5,
        "heal_all": 2.0,
    },
    "divergence": {
        "depose": 3.0, "deafen_leader": 5.0, "late_answers": 3.0, "leave_and_return": 1.5, "blink": 1.0,
        "heal_all": 2.0, "reset_link": 1.0,
    },
    "power": {
        "cut_power": 4.0, "cut_all_power": 1.5, "break_disk": 1.5, "slow_disk": 2.0, "full_disk": 0.7, "blink": 1.0,
        "crash_all": 0.7, "isolate_leader": 1.0, "reset_link": 1.0, "transfer": 0.5, "heal_all": 3.0,
    },
    "members": {
        "hire_voter": 3.0, "hire_observer": 1.0, "remove_member": 3.0, "change_role": 2.0, "lose_disk": 2.0,
        "reset_link": 1.5, "cut_link": 0.7, "isolate": 0.5, "isolate_leader": 0.7, "split": 0.3, "split_in_half": 0.3,
        "stall": 0.5, "crash": 0.5, "crash_leader": 0.5, "blink": 1.0, "crash_all": 0.3, "cut_all_power": 0.2,
        "pause": 0.3, "transfer": 1.0, "depose": 0.3, "slow_disk": 0.3, "heal_some": 2.0, "heal_all": 3.0,
    },
    "succession": {
        "remove_heir": 4.0, "hire_voter": 4.0, "transfer": 1.0, "restart": 0.5, "deafen_leader": 0.5, "blink": 0.5,
        "reset_link": 1.0, "heal_all": 2.0,
    },
    "disks": {  # much is written, logs are short, the state follows slowly, members that come or return need a snapshot
        "cut_power": 6.0, "cut_all_power": 1.0, "break_disk": 2.0, "crash": 2.0, "restart": 1.0, "isolate": 2.0,
        "isolate_leader": 1.0, "hire_voter": 1.5, "remove_member": 1.0, "lose_disk": 1.5, "full_disk": 0.3,
        "transfer": 0.5, "heal_all": 4.0,
    },
    "calendars": {  # to be asked for: how wrong calendars are is the seed's in every mix
        "step_calendar": 5.0, "transfer": 2.0, "crash_leader": 1.0, "isolate_leader": 1.0, "depose": 1.0, "blink": 1.0,
        "deafen_leader": 0.5, "change_drift": 0.5, "cut_power": 0.3, "heal_all": 3.0,
    },
    "calm": {"heal_all": 1.0},  # for those who ask what a cluster does that nothing strikes
    "quiet": {"reset_link": 1.0, "transfer": 0.5, "slow_disk": 0.5, "heal_all": 1.0},
}  # fmt: skip
# How often a seed is of that mix.
WEIGHTS: Final[Mapping[str, float]] = {
    "everything": 4.0, "elections": 2.0, "partitions": 2.0, "slowness": 3.0, "divergence": 3.0, "power": 2.0,
    "members": 3.0, "succession": 1.0, "quiet": 0.5, "disks": 1.0,
}  # fmt: skip
# What takes its time must be left alone meanwhile.
PACE: Final[Mapping[str, float]] = {"divergence": 0.4, "succession": 0.4, "quiet": 0.3}

CRASH_AFTER_VOTE: Final[Mapping[str, float]] = {"elections": 0.3, "divergence": 0.3, "calm": 0.0}
FLUSHES: Final = 0.2  # how likely one follows a turn
POWER_FAILS_IN_INSTALL: Final[Mapping[str, float]] = {"everything": 0.3, "power": 0.5, "members": 0.3, "disks": 0.7}


@dataclass(frozen=True, slots=True)
class Character:
    """mix: a name of MIXES. fault_rate_hz: how often one of it strikes.

    write_pause_s, read_pause_s: mean time between an answer and the next write, and between two reads, of one client.
    crash_after_vote: chance that a node dies just after it has told of a vote. downtime_s: mean of a crash.
    late_frame: chance that a frame of a broken stream arrives all the same. tail: that one takes very long.
    drift_ppm_max: how wrong clocks run from the start. auto_timing: the group agrees on timers of its own.
    prefers_regions: leadership is drawn to some nodes.
    """

    mix: str
    fault_rate_hz: float
    clients: int
    write_pause_s: float
    read_pause_s: float
    value_bytes: tuple[int, ...]
    append_bytes_max: int
    log_entries_max: int
    commit_s: float
    flushes: float
    downtime_s: float
    crash_after_vote: float
    late_frame: float
    tail: float
    drift_ppm_max: float
    auto_timing: bool
    prefers_regions: bool


def draw(dice: random.Random, timing: RaftTiming, mix: str | None = None) -> Character:
    """Times scale with the timers: a cluster whose elections take longer is struck more slowly."""
    unit_s = timing.election_timeout_max_s
    drawn = dice.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]
    mix = drawn if mix is None else mix
    values = dice.choice(((1, 10), (1, 1000), (1, 10, 1000, 40_000)))
    character = Character(
        mix=mix,
        fault_rate_hz=dice.choice((1.5, 3.0, 6.0)) / unit_s * PACE.get(mix, 1.0),
        clients=dice.choice((1, 4, 8)),
        write_pause_s=dice.choice((0.05, 0.2)) * unit_s,
        read_pause_s=dice.choice((0.03, 0.2)) * unit_s,
        value_bytes=values,
        append_bytes_max=dice.choice((1, 300, 1500, 1 << 20)),
        log_entries_max=dice.choice((4, 40, 100_000, 100_000)),  # from constant compaction to none
        commit_s=dice.choice((0.0003, 0.002, 0.01)),
        flushes=FLUSHES,
        downtime_s=dice.choice((0.3, 2.0)) * unit_s,
        crash_after_vote=CRASH_AFTER_VOTE[mix] if mix in CRASH_AFTER_VOTE else dice.choice((0.0, 0.05)),
        late_frame=dice.choice((0.05, 0.5)),
        tail=dice.choice((0.0, 0.003, 0.03)) * (mix != "calm"),
        drift_ppm_max=dice.choice((0.0, 500.0)),
        auto_timing=dice.random() < 0.2,
        prefers_regions=dice.random() < 0.3,
    )
    if mix == "disks":
        return replace(character, clients=8, value_bytes=(10, 1000, 4000), log_entries_max=4, flushes=0.05)
    return character
