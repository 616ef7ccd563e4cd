"""Lines that are logged once per change."""

import logging

import pytest

from replicator.transport.log_once import LogOnce

LOG = logging.getLogger("test.log_once")


def test_a_text_is_loud_when_new_and_quiet_when_repeated(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOG.name)
    log_once = LogOnce(LOG)
    for text in ("down", "down", "refused", "refused", "down"):
        log_once.say("n1", text)

    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "down"),
        ("DEBUG", "down"),
        ("WARNING", "refused"),
        ("DEBUG", "refused"),
        ("WARNING", "down"),
    ]


def test_another_line_about_the_same_matter_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    log_once = LogOnce(LOG)
    log_once.say("n1", "refused by address=a", matter="refused")
    log_once.say("n1", "refused by address=b", matter="refused")
    log_once.say("n1", "refused by address=b", matter="refused anew")
    assert [record.message for record in caplog.records] == ["refused by address=a", "refused by address=b"]


def test_peers_do_not_silence_each_other(caplog: pytest.LogCaptureFixture) -> None:
    log_once = LogOnce(LOG)
    log_once.say("n1", "down")
    log_once.say("n2", "down")
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


def test_after_forget_the_same_text_is_news_again(caplog: pytest.LogCaptureFixture) -> None:
    log_once = LogOnce(LOG)
    log_once.say("n1", "down")
    log_once.forget("n1")
    log_once.say("n1", "down")
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


def test_the_memory_of_keys_is_bounded() -> None:
    """Keys may come from the wire."""
    log_once = LogOnce(LOG)
    for n in range(10_000):
        log_once.say(f"unknown-{n}", "refused", level=logging.DEBUG)
    assert len(log_once._last) <= 256
