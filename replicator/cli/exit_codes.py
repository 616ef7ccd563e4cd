"""Exit codes, and the one line on stderr that goes with each."""

from enum import IntEnum

from replicator.model.errors import DeadlineExceeded, ReplicatorError, SessionExpired


class ExitCode(IntEnum):
    """Stable: scripts rely on these."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNAVAILABLE = 3
    OUTCOME_UNKNOWN = 4
    NODE_FAILED = 70
    INTERRUPTED = 130


class CommandFailed(Exception):
    """A command ends without what was asked for: `reason` and `message` become the one line on stderr."""

    def __init__(self, exit_code: ExitCode, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.exit_code = exit_code


def exit_code_of(error: ReplicatorError, *, writing: bool) -> ExitCode:
    """What a script may conclude. writing: the command changes data, so that an unknown outcome matters.

    SessionExpired counts as unknown for a write: one command is one session, so an earlier try may have happened.
    """
    if writing and (error.applied == "unknown" or isinstance(error, SessionExpired)):
        return ExitCode.OUTCOME_UNKNOWN
    if error.applied == "unknown" or error.retryable or isinstance(error, DeadlineExceeded):
        return ExitCode.UNAVAILABLE
    return ExitCode.REFUSED


def failure_of(error: ReplicatorError, *, retry_hint: str | None) -> CommandFailed:
    """The end of a command that met `error`. retry_hint: for a write, why running it again is safe; None for a read."""
    code = exit_code_of(error, writing=retry_hint is not None)
    message = error.message
    if code is ExitCode.OUTCOME_UNKNOWN:
        message = f"{message} (retry is safe: {retry_hint})"
    return CommandFailed(code, error.reason, message)


def one_line(text: str) -> str:
    """Text of any origin as one printable line: a newline or an escape sequence could hide the message."""
    flat = " ".join(text.split())
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in flat)
