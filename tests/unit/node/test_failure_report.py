"""The last line of a node that fails names the cause and the remedy, and spares the operator a traceback."""

import logging
from pathlib import Path

import pytest

from replicator.config.load import parse_config
from replicator.model.errors import CorruptData, DataDirectoryError, HistoryReplaced, StorageFailed, Superseded
from replicator.model.ids import LogIndex, Term
from replicator.node.lifecycle import report_failure
from replicator.storage.failures import InvariantViolated
from tests.unit.config.test_load import a_raw_config

CONFIG = parse_config(a_raw_config(), Path("/base"))


def reported(failure: BaseException, caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    report_failure(CONFIG, failure)
    (record,) = caplog.records
    assert record.levelno == logging.CRITICAL
    return record


def test_a_disk_error_points_at_the_disk(caplog: pytest.LogCaptureFixture) -> None:
    record = reported(StorageFailed("committing:\nInput/output error"), caplog)

    assert record.getMessage() == (
        "node eu-1 stops: storage failed: committing: Input/output error. "
        "Nothing of the failed write was acknowledged. "
        "Remedy: check the disk under /base/data (kernel log, SMART), then start the node again"
    )
    assert not record.exc_info, "a traceback says nothing that an operator could use"


def test_corrupt_data_points_at_the_page_that_says_how_to_replace_them(caplog: pytest.LogCaptureFixture) -> None:
    message = reported(CorruptData("entry 7: checksum"), caplog).getMessage()

    assert "storage failed: entry 7: checksum" in message
    assert "docs/operating.md, a lost or damaged disk, before /base/data is touched" in message


def test_entries_that_were_replaced_are_not_blamed_on_the_disk_and_no_restart_is_advised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failure = HistoryReplaced(index=LogIndex(7), term=Term(3), other_term=Term(4), by_term=Term(5))
    message = reported(failure, caplog).getMessage()

    assert message == (
        "node eu-1 stops: entry 7 of term 3 is committed here, and the leader of term 5 sends another one, of term 4, "
        "in its place: this node's data directory or those of the others are older copies, or the group was founded "
        "anew. Acknowledged writes are lost on one side. Remedy: do not start it again; `replicator export --data-dir "
        "/base/data` shows what it holds; then let it join with an empty directory: docs/operating.md, committed "
        "entries were replaced"
    )


@pytest.mark.parametrize("failure", [Superseded("/d: superseded, so it stops"), DataDirectoryError("/d: so it stops")])
def test_what_names_its_own_remedy_is_not_blamed_on_the_disk(
    failure: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    record = reported(failure, caplog)

    assert record.getMessage() == f"node eu-1 stops: {failure}"
    assert not record.exc_info


def test_a_write_that_contradicts_what_is_stored_is_not_blamed_on_the_disk(caplog: pytest.LogCaptureFixture) -> None:
    message = reported(InvariantViolated("the engine tried to delete committed entry 7"), caplog).getMessage()

    assert "This is most likely a bug, not the disk: please report it" in message
    assert "check the disk" not in message


def test_a_bug_is_called_a_bug_and_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    record = reported(AssertionError(), caplog)

    assert record.getMessage() == "node eu-1 stops: a bug: AssertionError. Please report this"
    assert record.exc_info
