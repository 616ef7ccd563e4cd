"""Keeps what callers and peers do from filling the log: gRPC logs tracebacks for much that is no fault here."""

import importlib
import logging
import time
import traceback
from types import SimpleNamespace
from typing import Any, Final

from replicator.core.pace import Pace

GRPC_LOGGER: Final = "grpc._cython.cygrpc"


def keep_grpc_from_printing() -> None:
    """When it cannot send a status, gRPC logs that, and prints the same traceback to stderr, past every filter.

    A caller who sends a head that is no text, and goes, would write as much there as it likes.
    """
    cygrpc: Any = importlib.import_module(GRPC_LOGGER)
    assert hasattr(cygrpc, "traceback"), "this release of gRPC prints in another way"
    cygrpc.traceback = SimpleNamespace(**{**vars(traceback), "print_exc": lambda: None})


class GrpcLogFilter(logging.Filter):
    """One line now and then for heads that are no text; nothing for callers that go before their answer."""

    def __init__(self) -> None:
        super().__init__()
        self._pace = Pace()

    def filter(self, record: logging.LogRecord) -> bool:
        """False for a record that need not be said now, or never."""
        message = record.getMessage()
        if message.startswith("Invalid encoding on"):
            return self._is_head_to_say(record)
        if message.startswith("Unexpected [UnicodeDecodeError] raised by servicer method"):
            return False  # the same head once more; errors of a servicer do not come here (api/interceptors/errors.py)
        error = record.exc_info[1] if record.exc_info else None
        # A message or a status that has nowhere to go any more: the caller or the peer has gone. `limits` counts the
        # call of the one, `links/roster.py` logs the cut link of the other.
        return type(error).__name__ != "ExecuteBatchError"

    def _is_head_to_say(self, record: logging.LogRecord) -> bool:
        """Makes one line of many, without what was sent, which may be long and is nobody's text."""
        times = self._pace.happened("invalid", time.monotonic())
        record.msg, record.args = "calls with a head that is not UTF-8: times=%d", (times,)
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.exc_info = record.exc_text = None
        return times > 0
