"""Log records to stderr, one line each: text for people, JSON for machines. Times are UTC.

What a record says may hold text from outside. No such text can end the line, so that a record cannot be forged, nor
steer a terminal.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Final, Literal

from replicator.telemetry.grpc_log import GRPC_LOGGER, GrpcLogFilter, keep_grpc_from_printing
from replicator.telemetry.log_queue import LogQueue, Write, write_to_stderr

# Libraries that log their own daily life at INFO; their warnings still come through.
_QUIET_LIBRARIES: Final = ("asyncio", "grpc", "uvicorn", "pysyncobj", "opentelemetry")


def _timestamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _one_line(text: str) -> str:
    """The same, with everything that is not printable escaped as in Python: ends of lines, control characters."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class TextFormatter(logging.Formatter):
    """`2026-11-21T02:47:00.123Z INFO replicator.node: serving node=eu-1`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback follows with its lines indented, so that none of them can pass for a record."""
        line = _one_line(f"{_timestamp(record)} {record.levelname} {record.name}: {record.getMessage()}")
        if record.exc_info:
            traceback = self.formatException(record.exc_info).split("\n")
            line = "\n".join([line, *(f"  {_one_line(each)}" for each in traceback)])
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line; a traceback is a field, so that no record spans lines."""

    def __init__(self, node_id: str, region: str) -> None:
        super().__init__()
        self._node = {"node": node_id, "region": region}

    def format(self, record: logging.LogRecord) -> str:
        """Every line has ts, level, logger, node, region and message; exception if there is one. ASCII only."""
        fields: dict[str, str] = {
            "ts": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._node,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def configure_logging(
    level: str,
    form: Literal["text", "json"],
    *,
    node_id: str,
    region: str,
    write: Write = write_to_stderr,
) -> LogQueue:
    """Makes stderr (or `write`) the only place that this process logs to. level: as in the configuration.

    Drain the queue that it returns before the process ends.
    """
    handler = LogQueue(write)
    handler.setFormatter(JsonFormatter(node_id, region) if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_log_level(level)
    logging.captureWarnings(capture=True)
    logging.getLogger(GRPC_LOGGER).filters[:] = [GrpcLogFilter()]
    keep_grpc_from_printing()
    return handler


def set_log_level(level: str) -> None:
    """From now on. level: as in the configuration."""
    logging.getLogger().setLevel(level.upper())
    quiet = logging.NOTSET if level == "debug" else logging.WARNING
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(quiet)
