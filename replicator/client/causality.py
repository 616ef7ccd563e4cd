"""What one request, job or user has seen: a token that only moves on, carried along with the context of the code.

A context (contextvars) is inherited by the tasks that are created in it, and by `asyncio.to_thread`; not by threads of
a pool. All of them move the same token on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from replicator.model.causal_token import CausalToken, later
from replicator.model.errors import InvalidToken

_current: ContextVar["Causality | None"] = ContextVar("replicator_causality", default=None)


class Causality:
    """Used from any task or thread: a reply that is late moves nothing back."""

    def __init__(self, token: str | None = None) -> None:
        """Raises InvalidToken for what is no token."""
        if token is not None:
            CausalToken.read(token)
        self._token = token

    @property
    def token(self) -> str | None:
        """Covers all that was observed; None before anything was."""
        return self._token

    def observe(self, token: str) -> None:
        """From now on reads are at least as new as `token`, too.

        Raises InvalidToken for what is no token, or of another group than those observed before.
        """
        if self._token is None:
            CausalToken.read(token)
            self._token = token
        elif token != self._token:
            self._token = later(self._token, token)

    def note(self, token: str) -> None:
        """As `observe`, of a reply to a call that has happened already, so this raises nothing.

        A reply of another group moves nothing: the next read hands the old token over, and the node refuses it with
        the remedy. To go on from the new group in silence would be to forget what was seen.
        """
        try:
            self.observe(token)
        except InvalidToken as error:
            if error.metadata.get("problem") != "foreign":
                raise


def current() -> Causality | None:
    """That of the context, if there is one: see `carried`."""
    return _current.get()


@contextmanager
def carried(token: str | None = None) -> Iterator[Causality]:
    """A context whose sessions share one token, which begins as `token`. Raises InvalidToken for what is no token."""
    causality = Causality(token)
    before = _current.set(causality)
    try:
        yield causality
    finally:
        _current.reset(before)
