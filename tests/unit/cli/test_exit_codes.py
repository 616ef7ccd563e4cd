"""Exit codes say what a script may conclude."""

import pytest

from replicator.cli.exit_codes import ExitCode, exit_code_of, failure_of, one_line
from replicator.model import errors


@pytest.mark.parametrize(
    ("kind", "reading", "writing"),
    [
        (errors.InvalidArgument, 1, 1),
        (errors.InvalidToken, 1, 1),
        (errors.TokenAhead, 1, 1),
        (errors.Forbidden, 1, 1),
        (errors.WriteIdReused, 1, 1),
        (errors.Compacted, 1, 1),
        (errors.Unavailable, 3, 3),
        (errors.NoLeader, 3, 3),
        (errors.NotLeader, 3, 3),
        (errors.ShuttingDown, 3, 3),
        (errors.Overloaded, 3, 3),
        (errors.StorageFull, 3, 3),
        (errors.ReplicaBehind, 3, 3),
        (errors.ChangeInProgress, 3, 3),
        (errors.DeadlineExceeded, 3, 3),
        (errors.NoMajority, 1, 1),
        (errors.SessionExpired, 1, 4),
        (errors.OutcomeUnknown, 3, 4),
        (errors.Internal, 3, 4),
    ],
)
def test_each_error_has_its_exit_code(kind: type[errors.ReplicatorError], reading: int, writing: int) -> None:
    assert exit_code_of(kind("m"), writing=False) == reading
    assert exit_code_of(kind("m"), writing=True) == writing


def test_no_error_of_the_family_is_forgotten() -> None:
    mark = test_each_error_has_its_exit_code.pytestmark[0]  # type: ignore[attr-defined]
    listed = {row[0] for row in mark.args[1]}

    assert listed == set(errors.ERROR_OF_REASON.values())


def test_only_an_unknown_outcome_of_a_write_talks_about_retries() -> None:
    unknown = failure_of(errors.OutcomeUnknown("no majority answered"), retry_hint="it sets the same value")
    refused = failure_of(errors.NoLeader("no leader"), retry_hint="it sets the same value")

    assert unknown.exit_code is ExitCode.OUTCOME_UNKNOWN
    assert str(unknown) == "OUTCOME_UNKNOWN: no majority answered (retry is safe: it sets the same value)"
    assert str(refused) == "NO_LEADER: no leader"


def test_text_of_any_origin_becomes_one_printable_line() -> None:
    assert one_line("a\nb\r\n  c\t\x1b[31md\u2028e") == "a b c \\x1b[31md e"
