"""Bytes on a terminal and in JSON: nothing is lost, nothing breaks a line."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.cli.output import Column, bytes_fields, json_text, print_facts, print_table, shown


def test_utf_8_is_text_and_anything_else_is_base64() -> None:
    assert bytes_fields("value", "Grüße".encode()) == {"value": "Grüße", "value_base64": None}
    assert bytes_fields("value", b"\xff\x00") == {"value": None, "value_base64": "/wA="}
    assert bytes_fields("value", b"") == {"value": "", "value_base64": None}
    assert bytes_fields("value", None) == {"value": None, "value_base64": None}


@given(st.binary())
def test_every_value_can_be_had_back_from_json(value: bytes) -> None:
    fields = bytes_fields("value", value)

    text, encoded = fields["value"], fields["value_base64"]
    assert (text is None) != (encoded is None)
    assert value == (str(text).encode() if text is not None else base64.b64decode(str(encoded)))


@given(st.binary())
def test_every_value_is_shown_on_one_printable_line_and_two_values_never_look_alike(value: bytes) -> None:
    line = shown(value)

    assert line.isprintable()
    decoded = line.encode("latin-1", errors="backslashreplace")
    assert b"\n" not in decoded
    assert shown(value + b"\x00") != line


def test_a_tab_and_a_backslash_cannot_be_mistaken_for_the_separator_or_an_escape() -> None:
    assert shown(b"a\tb\\n\n\xff") == "a\\tb\\\\n\\n\\xff"


def test_json_keeps_text_readable() -> None:
    assert json_text({"value": "ü", "found": True, "staleness_ms": None}) == (
        '{"value": "ü", "found": true, "staleness_ms": null}'
    )


def test_facts_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts({"deleted": True, "revision": 4})

    assert capsys.readouterr().out == "deleted=true revision=4\n"


def test_a_long_word_in_the_column_that_wraps_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """A path that is cut does not lead anywhere."""
    path = "/" + "/".join(f"folder-{number:03d}" for number in range(40))
    print_table([Column("node"), Column("notes", wraps=True)], [("eu-1", f"no room under {path}")])
    assert path in "".join(capsys.readouterr().out.split())
