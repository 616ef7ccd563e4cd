"""Log records to stderr, one line each: text for people, JSON for machines. Times are UTC."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

# Libraries that log their own daily life at INFO; their warnings still come through.
_QUIET_LIBRARIES: Final = ("asyncio", "grpc", "uvicorn", "pysyncobj", "opentelemetry")


def _timestamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TextFormatter(logging.Formatter):
    """`2026-11-21T02:47:00.123Z INFO replicator.node: serving node=eu-1`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, followed by a traceback if the record carries one."""
        line = f"{_timestamp(record)} {record.levelname} {record.name}: {record.getMessage()}"
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line; a traceback is a field, so that no record spans lines."""

    def __init__(self, node_id: str, region: str) -> None:
        super().__init__()
        self._node = {"node": node_id, "region": region}

    def format(self, record: logging.LogRecord) -> str:
        """Every line has ts, level, logger, node, region and message; exception if there is one."""
        fields: dict[str, str] = {
            "ts": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._node,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def configure_logging(
    level: str,
    form: Literal["text", "json"],
    *,
    node_id: str,
    region: str,
    stream: TextIO | None = None,
) -> None:
    """Makes stderr (or `stream`) the only place that this process logs to. level: as in the configuration."""
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter(node_id, region) if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    quiet = logging.NOTSET if level == "debug" else logging.WARNING
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(quiet)
    logging.captureWarnings(capture=True)
