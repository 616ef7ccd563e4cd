"""Lines that are logged once per change."""

import logging

import pytest

from replicator.transport.notices import Notices

LOG = logging.getLogger("test.notices")


def test_a_text_is_loud_when_new_and_quiet_when_repeated(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOG.name)
    notices = Notices(LOG)
    for text in ("down", "down", "refused", "refused", "down"):
        notices.say("n1", text)

    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "down"),
        ("DEBUG", "down"),
        ("WARNING", "refused"),
        ("DEBUG", "refused"),
        ("WARNING", "down"),
    ]


def test_another_line_about_the_same_matter_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices(LOG)
    notices.say("n1", "refused by address=a", matter="refused")
    notices.say("n1", "refused by address=b", matter="refused")
    notices.say("n1", "refused by address=b", matter="refused anew")
    assert [record.message for record in caplog.records] == ["refused by address=a", "refused by address=b"]


def test_peers_do_not_silence_each_other(caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices(LOG)
    notices.say("n1", "down")
    notices.say("n2", "down")
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


def test_after_forget_the_same_text_is_news_again(caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices(LOG)
    notices.say("n1", "down")
    notices.forget("n1")
    notices.say("n1", "down")
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


def test_the_memory_of_keys_is_bounded() -> None:
    """Keys may come from the wire."""
    notices = Notices(LOG)
    for n in range(10_000):
        notices.say(f"stranger-{n}", "refused", level=logging.DEBUG)
    assert len(notices._last) <= 256
