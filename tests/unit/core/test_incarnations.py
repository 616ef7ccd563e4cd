"""Which run of a data directory may be linked, by what was met before."""

import pytest

from replicator.core.incarnations import Standing, standing_of
from replicator.model.incarnation import Incarnation, KnownIncarnation

HERS, OTHER = b"0123456789abcdef", b"fedcba9876543210"
KNOWN = KnownIncarnation(HERS, Incarnation(7, b"the seventh run."))


@pytest.mark.parametrize(
    ("number", "run_id", "expected"),
    [
        (8, b"the eighth run..", Standing.NEWER),
        (7, b"the seventh run.", Standing.SAME),
        (7, b"of a copy of it.", Standing.COPY),
        (6, b"the sixth run...", Standing.OLDER),
        (1, b"the first run...", Standing.OLDER),
    ],
)
def test_of_two_runs_of_one_directory_the_later_one_counts(number: int, run_id: bytes, expected: Standing) -> None:
    assert standing_of(KNOWN, HERS, Incarnation(number, run_id)) is expected


@pytest.mark.parametrize("number", [1, 7, 8])
def test_another_directory_has_a_count_of_its_own(number: int) -> None:
    """Whether it may act under the name is for the membership to say."""
    assert standing_of(KNOWN, OTHER, Incarnation(number, b"another run.....")) is Standing.NEWER


def test_the_first_run_that_is_met_is_a_new_one() -> None:
    assert standing_of(None, HERS, Incarnation(3, b"the third run...")) is Standing.NEWER
