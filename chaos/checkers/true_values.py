"""A read returns what somebody wrote: the value of the acknowledged write at that revision, or of an unknown one."""

from chaos.checkers.violation import Breach, Violation
from chaos.history import History, Result


def check(history: History) -> list[Violation]:
    """Covers all reads with a value, and the final copies."""
    acknowledged = {(write.key, write.revision): write.value for write in history.writes(Result.OK)}
    unknown = {(write.key, write.value) for write in history.writes(Result.UNKNOWN)}
    seen = [(str(read), read.key, read.mod_revision, read.value) for read in history.reads() if read.value is not None]
    for copy in history.copies:
        for key, pair in copy.pairs.items():
            seen.append((f"{copy.node} at the end: {key}@{pair.mod_revision}", key, pair.mod_revision, pair.value))
    problems: list[str] = []
    for who, key, revision, value in seen:
        if (key, revision) in acknowledged:
            if acknowledged[key, revision] != value:
                problems.append(f"{who} has another value than the write of that revision")
        elif (key, value) not in unknown:
            problems.append(f"{who} has a value that no write can have left there")
    return [Violation(Breach.WRONG, problem) for problem in problems]
