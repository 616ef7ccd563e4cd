"""The record of simulated workers is worth judging: it holds every kind of call, and every way in which one ends."""

from collections.abc import Iterator

import pytest

from chaos.history import Kind, Operation, Result
from chaos.simulation.workers import KEPT
from chaos.simulation.world import Scenario, World

SEEDS = range(6)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[Operation]:
    def lives() -> Iterator[Operation]:
        for seed in SEEDS:
            life = World(seed, Scenario(profile="wan"), tmp_path_factory.mktemp("life"))
            assert life.run().violation == "", f"seed {seed}"
            assert life._record is not None
            yield from life._record.history

    return list(lives())


def test_all_kinds_of_calls_are_on_record_with_all_their_ends(recorded: list[Operation]) -> None:
    ends = {(operation.kind, operation.result) for operation in recorded}
    writes = {Kind.PUT, Kind.COMPARE_AND_SET, Kind.DELETE}
    assert {(kind, Result.OK) for kind in (*writes, Kind.READ)} <= ends
    assert {(Kind.COMPARE_AND_SET, Result.FAILED), (Kind.DELETE, Result.FAILED)} <= ends
    assert any(result is Result.UNKNOWN for _, result in ends)


def test_reads_of_both_kinds_find_keys_and_find_none(recorded: list[Operation]) -> None:
    reads = [operation for operation in recorded if operation.kind is Kind.READ]
    assert {(read.linearizable, read.value is None) for read in reads} == {
        (linearizable, is_missing) for linearizable in (True, False) for is_missing in (True, False)
    }
    assert any(read.carried for read in reads)


def test_some_keys_are_never_deleted(recorded: list[Operation]) -> None:
    """Their absence would be a loss that nothing excuses."""
    written = {operation.key for operation in recorded if operation.is_write and operation.result is Result.OK}
    assert set(KEPT) <= written
    assert not any(operation.kind is Kind.DELETE and operation.key in KEPT for operation in recorded)
