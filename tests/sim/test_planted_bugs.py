"""The simulation can see: each planted bug is caught, by a promise that is stated, within a stated number of seeds.

`within` leaves room: a bug that one seed in ten shows is looked for in seventy, so that a change of the engine, which
changes what every seed does, does not make it invisible by chance.
"""

import re
from typing import NamedTuple

import pytest

from chaos.simulation.world import Scenario, simulate
from tests.support import planted_bugs
from tests.support.planted_bugs import Bug


class Planted(NamedTuple):
    """seen_as: what the violation says. mix: of faults, None for any."""

    bug: Bug
    seen_as: str
    within: int = 5
    mix: str | None = None


BUGS = [
    Planted(planted_bugs.deletes_what_does_not_conflict, "tried to delete committed entry|ends at", 40, "divergence"),
    Planted(planted_bugs.acknowledges_what_was_not_compared, "acknowledges .*(which holds|ends at)", 60, "divergence"),
    Planted(planted_bugs.commits_what_was_not_compared, "elsewhere|in its place", 60, "divergence"),
    Planted(planted_bugs.counts_acks_of_an_earlier_term, "counts on .* it has heard of", 40, "slowness"),
    Planted(planted_bugs.commits_entries_of_earlier_terms_by_counting, "by counting", 40, "divergence"),
    Planted(planted_bugs.believes_a_lower_commit_index, "went back from|AssertionError", 20),
    Planted(planted_bugs.commits_with_a_minority, "counts on"),
    Planted(planted_bugs.ignores_a_late_link, "counts on .* it has heard of", 70, "partitions"),
    Planted(planted_bugs.forgets_its_vote, "tells of a vote"),
    Planted(planted_bugs.votes_for_a_log_that_lacks_entries, "is committed", 20, "partitions"),
    Planted(planted_bugs.counts_a_voter_twice, "by the votes of|and so does", 40, "partitions"),
    Planted(planted_bugs.counts_observers_as_voters, "which only|is no voter|KeyError", 20, "members"),
    Planted(planted_bugs.votes_although_it_lost_its_disk, "applied another|and so does|claims to be", 20, "members"),
    Planted(planted_bugs.leads_on_after_its_removal, "and is no voter", 20, "succession"),
    Planted(planted_bugs.skips_the_sync_of_the_log, "its disk says"),
    Planted(planted_bugs.opens_its_data_without_sync, "made durable was", 10, "power"),
    Planted(planted_bugs.sends_before_the_commit, "its disk|which holds", 20, "slowness"),
    Planted(planted_bugs.applies_again_after_a_restart, "apply of entry", 20),
    Planted(planted_bugs.answers_before_the_commit, "was applied at .* where it is not"),
    Planted(planted_bugs.answers_on_whatever_link_is_up, "it came on", 20, "slowness"),
    Planted(planted_bugs.serves_reads_without_asking_a_quorum, "confirmed a read", 20, "partitions"),
    Planted(planted_bugs.confirms_reads_by_what_was_sent_before_them, "confirmed a read|read up to", 120, "divergence"),
    Planted(
        planted_bugs.serves_reads_before_its_own_term_commits,
        "confirmed a read|claims to be|read up to",
        40,
        "partitions",
    ),
    Planted(planted_bugs.merges_tokens_to_the_earlier, "causal read"),
    Planted(planted_bugs.tells_what_is_applied_before_it_is_stored, "causal read|not converged", 20),
    Planted(planted_bugs.claims_freshness_of_its_own_clock, "claims to be"),
    Planted(planted_bugs.forgets_the_age_of_its_quorum, "claims to be", 100, "partitions"),
    Planted(planted_bugs.trusts_the_calendar_that_it_begins_with, "log time", 10, "calendars"),
    Planted(planted_bugs.remembers_the_time_of_entries_that_are_gone, "leap of log time", 120, "divergence"),
    Planted(planted_bugs.loses_the_fraction_of_a_millisecond, "log time that lags", 20, "calendars"),
]


@pytest.mark.parametrize("planted", BUGS, ids=lambda planted: planted.bug.__name__)
def test_a_planted_bug_is_caught(planted: Planted, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    with planted.bug():
        for seed in range(planted.within):
            violation = simulate(seed, Scenario(nodes=3 if seed % 2 else 5, mix=planted.mix)).violation
            if violation:
                break
        else:
            pytest.fail(f"not caught within {planted.within} seeds")
    assert re.search(planted.seen_as, violation), violation
