"""Log lines: one a record, UTC, readable by people or by machines."""

import json
import logging
import re
from collections.abc import Iterator
from typing import Literal

import pytest

from replicator.telemetry import LogQueue, configure_logging


@pytest.fixture(autouse=True)
def _root_logger_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(capture=False)
    for name in ("asyncio", "grpc", "uvicorn", "pysyncobj", "opentelemetry"):
        logging.getLogger(name).setLevel(logging.NOTSET)


class Written:
    """What has left for stderr."""

    def __init__(self) -> None:
        self.data = b""
        self.queue: LogQueue | None = None

    def write(self, data: bytes) -> None:
        self.data += data

    def getvalue(self) -> str:
        assert self.queue is not None
        assert self.queue.drain(30.0)
        return self.data.decode()


def logging_to(form: Literal["text", "json"], level: str = "info") -> Written:
    written = Written()
    written.queue = configure_logging(level, form, node_id="eu-1", region="eu", write=written.write)
    return written


def test_a_text_line_has_time_level_logger_and_message() -> None:
    stream = logging_to("text")

    logging.getLogger("replicator.node").info("serving node=%s", "eu-1")

    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO replicator\.node: serving node=eu-1\n", stream.getvalue()
    )


def test_a_json_line_is_one_object_even_with_newlines_and_a_traceback() -> None:
    stream = logging_to("json")

    try:
        raise ValueError("a\nb")
    except ValueError:
        logging.getLogger("replicator.node").exception("went\nwrong")

    (line,) = stream.getvalue().splitlines()
    fields = json.loads(line)
    assert fields["message"] == "went\nwrong"
    assert fields["level"] == "error"
    assert fields["node"] == "eu-1"
    assert fields["region"] == "eu"
    assert "ValueError" in fields["exception"]


FORGED = "2026-11-26T00:00:00.000Z CRITICAL replicator.storage: the disk is damaged"
ENDS_OF_LINES = ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("end", ENDS_OF_LINES)
def test_text_from_outside_forges_no_record(end: str) -> None:
    stream = logging_to("text")

    logging.getLogger("replicator.node").warning("member at %s joins", f"x{end}{FORGED}")

    (line,) = stream.getvalue().splitlines()
    assert "WARNING" in line
    assert "CRITICAL" in line


@pytest.mark.parametrize("end", ENDS_OF_LINES)
def test_a_traceback_keeps_its_lines_and_none_of_them_can_pass_for_a_record(end: str) -> None:
    stream = logging_to("text")

    try:
        raise ValueError(f"x{end}{FORGED}")
    except ValueError:
        logging.getLogger("replicator.node").exception("went wrong")

    first, *rest = stream.getvalue().splitlines()
    assert re.match(r"\d{4}-", first)
    assert len(rest) >= 4
    assert all(line.startswith("  ") for line in rest), rest


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_text_steers_a_terminal_or_ends_a_json_line(form: Literal["text", "json"]) -> None:
    stream = logging_to(form)

    logging.getLogger("replicator.node").warning("%s", "".join([*ENDS_OF_LINES, "\x1b[2J", "\u202e", "\x7f", "\ud800"]))

    written = stream.getvalue()
    assert written.removesuffix("\n").isprintable()
    if form == "json":
        assert json.loads(written)["message"].endswith("\ud800")


def test_lines_below_the_level_are_not_written() -> None:
    stream = logging_to("text", level="warning")

    logging.getLogger("replicator.node").info("chatter")

    assert stream.getvalue() == ""


def test_libraries_speak_only_when_something_is_wrong() -> None:
    stream = logging_to("text")

    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("uvicorn.error").warning("limit exceeded")

    assert "Started" not in stream.getvalue()
    assert "limit exceeded" in stream.getvalue()


def test_configuring_again_replaces_what_was_configured() -> None:
    first = logging_to("text")
    second = logging_to("text")

    logging.getLogger("replicator").info("once")

    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1
