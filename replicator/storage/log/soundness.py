"""Do the numbers of a store make sense? Asked of what is on disk, before a node acts upon it."""

from pathlib import Path
from typing import Final

from lmdb.verify import VerifyError, verify

from replicator.model.errors import DataDirectoryError
from replicator.model.ids import LogIndex
from replicator.model.limits import INDEX_MAX, TERM_MAX
from replicator.storage.failures import InvariantViolated
from replicator.storage.log.raft_log import RaftLog

_PROBLEMS_NAMED_MAX: Final = 3


def page_problems(file: Path) -> str:
    """What LMDB's verifier finds wrong with the pages of a data file, of which it reads all; empty if nothing."""
    try:
        problems = verify(str(file), subdir=False)  # type: ignore[no-untyped-call]
    except VerifyError as error:
        problems = [str(error)]
    return "; ".join(problems[:_PROBLEMS_NAMED_MAX])


def problem_of_range(log: RaftLog) -> str | None:
    """Which term or index of hard state or log no group can have reached; None if all are in range.

    Of the log, the last entry is asked: terms do not fall along a log. Raises CorruptData.
    """
    hard_state, bounds = log.hard_state(), log.bounds()
    for what, number, greatest in (
        ("term", hard_state.term, TERM_MAX),
        ("commit index", hard_state.commit_index, INDEX_MAX),
        ("term of the last log entry", bounds.last_term, TERM_MAX),
        ("index of the last log entry", bounds.last_index, INDEX_MAX),
    ):
        if number > greatest:
            return f"{what} {number} is out of range, the greatest is {greatest}"
    return None


def refuse_out_of_range(path: Path, log: RaftLog) -> None:
    """Raises DataDirectoryError with the remedy: no node could ever act on such a number."""
    problem = problem_of_range(log)
    if problem is not None:
        raise DataDirectoryError(
            f"{path}: {problem}: a forged message or a bug has put it there. If a majority of the others runs, empty "
            "this directory and start the node with --join; if not, `replicator recover` gets the cluster back from "
            "one node's data (docs/operating.md, a majority is lost for good)"
        )


def assert_ordered(applied_index: LogIndex, log: RaftLog) -> None:
    """Applied and committed may trail the log, never pass it; and nothing that is still to be applied is gone.

    Raises InvariantViolated.
    """
    bounds, hard_state = log.bounds(), log.hard_state()
    marks = f"applied {applied_index}, committed {hard_state.commit_index}"
    if applied_index > bounds.last_index or hard_state.commit_index > bounds.last_index:
        raise InvariantViolated(f"{marks}: beyond the last entry {bounds.last_index}")
    if bounds.first_index > max(1, min(applied_index, hard_state.commit_index)):
        raise InvariantViolated(f"{marks}: before the first entry {bounds.first_index}")
