"""The simulation can see: each planted bug is caught, by a promise that is stated, within a stated number of seeds.

`within` leaves room: a bug that one seed in ten shows is looked for in seventy, so that a change of the engine, which
changes what every seed does, does not make it invisible by chance. `first` saves time: a seed that showed it last time,
which is tried before the others.
"""

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from chaos.simulation.world import Scenario, simulate
from tests.support import planted_bugs, planted_durability, planted_service, planted_shell
from tests.support.planted_bugs import Bug


class Planted(NamedTuple):
    """seen_as: what the violation says. mix: of faults, None for any. nodes: at first, None for 3 and 5 in turn."""

    bug: Bug
    seen_as: str
    within: int = 5
    mix: str | None = None
    nodes: int | None = None
    first: int = 0

    @property
    def seeds(self) -> Iterator[int]:
        """`first` and those after it, then those before it."""
        return itertools.chain(range(self.first, self.within), range(self.first))


BUGS = [
    Planted(
        planted_bugs.deletes_what_does_not_conflict,
        "tried to delete committed entry|ends at",
        40,
        "divergence",
        first=7,
    ),
    Planted(
        planted_bugs.acknowledges_what_was_not_compared,
        "acknowledges .*(which holds|ends at)",
        200,
        "divergence",
        first=116,
    ),
    Planted(planted_bugs.commits_what_was_not_compared, "elsewhere|in its place", 200, "divergence", first=103),
    Planted(planted_bugs.counts_acks_of_an_earlier_term, "counts on .* it has heard of", 40, "slowness", first=8),
    Planted(planted_bugs.commits_entries_of_earlier_terms_by_counting, "by counting", 60, "divergence", first=20),
    Planted(planted_bugs.believes_a_lower_commit_index, "went back from|AssertionError", 20),
    Planted(planted_bugs.commits_with_a_minority, "counts on"),
    Planted(planted_bugs.ignores_a_late_link, "counts on .* it has heard of", 70, "partitions", first=5),
    Planted(planted_bugs.forgets_its_vote, "tells of a vote"),
    Planted(planted_bugs.votes_for_a_log_that_lacks_entries, "is committed", 20, "partitions", first=5),
    Planted(planted_bugs.counts_a_voter_twice, "by the votes of|and so does", 40, "partitions"),
    Planted(planted_bugs.counts_observers_as_voters, "which only|is no voter|KeyError", 20, "members", first=6),
    Planted(
        planted_bugs.votes_although_it_lost_its_disk,
        "applied another|and so does|claims to be|by the votes",
        20,
        "members",
    ),
    Planted(planted_bugs.leads_on_after_its_removal, "and is no voter", 40, "succession", first=15),
    Planted(planted_durability.skips_the_sync_of_the_log, "its disk says"),
    Planted(planted_durability.opens_its_data_without_sync, "made durable was", 10, "power"),
    Planted(planted_durability.opens_its_log_without_sync, "made durable was", 10, "power"),
    Planted(
        planted_durability.takes_a_torn_turn_for_a_whole_one,
        "made durable was|DataDirectoryError",
        150,
        "disks",
        first=60,
    ),
    Planted(
        planted_durability.lets_the_log_go_before_the_state_is_stored,
        "before the first entry|nothing at the applied index",
        30,
        "disks",
    ),
    Planted(
        planted_durability.removes_the_old_log_before_the_new_data_are_named,
        "no log is there|is missing before",
        120,
        "disks",
        first=43,
    ),
    Planted(planted_durability.never_syncs_directories, "no log is there|made durable was", 100, "disks", first=40),
    Planted(planted_durability.installs_what_it_has_not_synced, "damaged or not written by", 120, "disks", first=73),
    Planted(planted_durability.flushes_ahead_of_its_log, "flush of entry .* is committed", 10),
    Planted(planted_durability.sends_before_the_commit, "its disk|which holds", 20, "slowness"),
    Planted(planted_durability.acknowledges_before_its_commit, "acknowledges .*its disk ends at", 20, "slowness"),
    Planted(planted_durability.applies_what_its_disk_does_not_hold, "which its disk does not hold", 20),
    Planted(planted_durability.counts_itself_before_its_disk, "which its disk does not hold", nodes=1),
    Planted(
        planted_durability.sends_appends_in_a_term_that_is_not_on_its_disk,
        "sends an append in term",
        40,
        nodes=1,
        first=14,
    ),
    Planted(planted_durability.lets_entries_and_votes_wait, "its disk|which holds|tells of a vote", 20),
    Planted(planted_durability.lets_changes_of_the_group_wait, "counts by a membership", 20, "members"),
    Planted(planted_durability.applies_again_after_a_restart, "apply of entry", 20, first=1),
    Planted(planted_bugs.answers_before_the_commit, "was applied at .* where it is not"),
    Planted(planted_bugs.answers_on_whatever_link_is_up, "it came on", 20, "slowness", first=5),
    Planted(planted_bugs.evaluates_differently_on_one_node, "another state of the same log: n2 at index"),
    Planted(planted_bugs.serves_reads_without_asking_a_quorum, "confirmed a read", 40, "partitions", first=11),
    Planted(
        planted_bugs.confirms_reads_by_what_was_sent_before_them,
        "confirmed a read|read up to",
        120,
        "divergence",
        first=29,
    ),
    Planted(
        planted_bugs.serves_reads_before_its_own_term_commits,
        "confirmed a read|claims to be|read up to",
        40,
        "partitions",
        first=7,
    ),
    Planted(planted_bugs.merges_tokens_to_the_earlier, "causal read"),
    Planted(planted_bugs.reads_its_data_file_only, "causal read|read up to", 20),
    Planted(planted_bugs.claims_freshness_of_its_own_clock, "claims to be"),
    Planted(planted_bugs.forgets_the_age_of_its_quorum, "claims to be", 100, "partitions", first=58),
    Planted(planted_bugs.trusts_the_calendar_that_it_begins_with, "log time", 10, "calendars"),
    Planted(planted_bugs.proposes_what_nobody_waits_for, "after its deadline", 20, "slowness"),
    Planted(planted_shell.sends_all_frames_before_it_commits, "its disk|which holds|tells of a vote"),
    Planted(planted_shell.takes_a_full_disk_for_a_commit, "its disk", 40, "slowness", first=9),
    Planted(planted_shell.forgets_links_while_the_disk_is_full, "not converged|it came on", 80, "slowness", first=31),
    Planted(planted_shell.tells_readers_of_the_next_entry, "causal read"),
    Planted(planted_shell.lets_readers_go_on, "causal read"),
    Planted(planted_shell.stops_without_storing_the_rest, "has stopped with", 80, "elections", first=16),
    Planted(planted_shell.leaves_its_callers_waiting, "callers still wait", 20, "elections"),
    Planted(planted_shell.stops_in_the_middle_of_a_turn, "has stopped with|Error", 60, "elections", first=12),
    Planted(planted_shell.dates_a_read_by_its_answer, "claims to be", 40, "partitions"),
    Planted(planted_service.joins_a_question_that_was_asked_before, "read up to", 20),
    Planted(planted_service.reads_before_the_point_is_applied, "read up to", 20, first=2),
    Planted(planted_service.takes_what_is_committed_for_applied, "causal read", 60, first=9),
    Planted(planted_service.serves_bounded_reads_at_any_age, "claims to be", 20, first=2),
    Planted(planted_service.calls_every_linearizable_read_new, "claims to be", 20),
    Planted(planted_service.scans_what_is_in_the_data_file, "causal read", 20),
    Planted(planted_service.gives_every_write_a_minute, "after its deadline", 20, "slowness"),
    Planted(planted_service.swaps_without_comparing, "on record: wrong", 20),
    Planted(planted_service.calls_every_write_of_a_batch_a_change, "on record", 20),
    Planted(planted_service.mixes_up_the_answers_of_a_batch, "on record", 20),
    Planted(planted_service.pages_end_early, "on record|causal read", 20, first=2),
    Planted(planted_bugs.loses_the_fraction_of_a_millisecond, "log time that lags", 20, "calendars", first=3),
]


@pytest.mark.parametrize("planted", BUGS, ids=lambda planted: planted.bug.__name__)
def test_a_planted_bug_is_caught(planted: Planted, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    with planted.bug():
        for seed in planted.seeds:
            violation = simulate(
                seed, Scenario(nodes=planted.nodes or (3 if seed % 2 else 5), mix=planted.mix)
            ).violation
            if violation:
                break
        else:
            pytest.fail(f"not caught within {planted.within} seeds")
    assert re.search(planted.seen_as, violation), violation
