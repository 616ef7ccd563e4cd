"""An export survives the round trip, whatever bytes it holds; what was damaged on its way is refused, with its line."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from replicator.core.export_format import BadExport, ExportHeader
from replicator.model.values import KeyValue
from tests.support.exports import (
    drops_the_mark_of_base64,
    exported,
    hashes_the_header_only,
    read_back,
    replaces_what_is_no_text,
    takes_a_file_that_was_cut_off,
)

Export = tuple[ExportHeader, list[KeyValue]]

ODD_BYTES = [b"\xff", b"\x00", b"\n", b'"', b"\\", b"\x80", b"\xed\xa0\x80", "\u2028ü😀".encode(), b"\xc3", b"\r\n"]
some_bytes = st.lists(st.sampled_from(ODD_BYTES) | st.binary(max_size=6), max_size=6).map(b"".join)
numbers = st.integers(1, (1 << 64) - 1)


@st.composite
def exports(draw: st.DrawFn) -> Export:
    pairs = []
    for key in sorted(draw(st.sets(some_bytes.filter(bool), max_size=6))):
        create_revision, mod_revision = sorted((draw(numbers), draw(numbers)))
        pairs.append(KeyValue(key, draw(some_bytes), create_revision, mod_revision, draw(numbers)))
    revision = max((pair.mod_revision for pair in pairs), default=0)
    start = draw(st.sampled_from([b"", pairs[0].key])) if pairs else draw(some_bytes)
    end = draw(st.sampled_from([b"", pairs[-1].key + b"\x00"])) if pairs else draw(some_bytes)
    return ExportHeader(draw(st.sampled_from(["shop", ""])), revision, start, end), pairs


def survives_the_round_trip(export: Export) -> None:
    assert read_back(exported(*export)) == export


def damage_is_refused_or_means_nothing(export: Export, data: st.DataObject) -> None:
    """Only how the last line is written is not covered."""
    text = exported(*export)
    place = data.draw(st.integers(0, len(text) - 1), label="place")
    damage = data.draw(st.sampled_from(["flip", "cut", "drop", "insert"]), label="damage")
    if damage == "flip":
        damaged = text[:place] + bytes((text[place] ^ data.draw(st.integers(1, 255)),)) + text[place + 1 :]
    elif damage == "cut":
        damaged = text[:place]
    elif damage == "drop":
        damaged = text[:place] + text[place + data.draw(st.integers(1, 40)) :]
    else:
        damaged = text[:place] + data.draw(st.binary(min_size=1, max_size=40)) + text[place:]
    before, _, last = text[:-1].rpartition(b"\n")
    try:
        found = read_back(damaged)
    except BadExport as refusal:
        _names_its_line(refusal, damaged)
    else:
        assert found == export
        assert damaged.startswith(before + b"\n")
        assert json.loads(damaged[len(before) :]) == json.loads(last)


def _names_its_line(refusal: BadExport, damaged: bytes) -> None:
    assert 1 <= refusal.line <= damaged.count(b"\n") + 1
    assert str(refusal).startswith(f"line {refusal.line}: ")


def lines_lost_doubled_or_swapped_are_refused(export: Export, data: st.DataObject) -> None:
    *before, _ = exported(*export).split(b"\n")
    lines = [line + b"\n" for line in before]
    place, other = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    swapped = list(lines)
    swapped[place], swapped[other] = lines[other], lines[place]
    damaged = {
        "lost": lines[:place] + lines[place + 1 :],
        "doubled": [*lines[: place + 1], *lines[place:]],
        "cut off": lines[:place],
        "swapped": swapped if place != other else [],
    }[data.draw(st.sampled_from(["lost", "doubled", "cut off", "swapped"]))]
    with pytest.raises(BadExport):
        read_back(b"".join(damaged))


test_an_export_survives_the_round_trip = given(exports())(survives_the_round_trip)
test_a_damaged_export_is_refused_or_the_damage_means_nothing = given(exports(), st.data())(
    damage_is_refused_or_means_nothing
)
test_lines_lost_doubled_or_swapped_are_refused = given(exports(), st.data())(lines_lost_doubled_or_swapped_are_refused)


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"{}\n", b"[]\n", b'{"count": 0}\n']), max_size=4))
@example([b"[" * 100_000 + b"\n"])
@example([b'{"format": ' + b"9" * 5_000 + b"}\n"])
@example([b'{"format": "\\ud800"}\n'])
def test_no_bytes_make_the_reader_fail_otherwise_than_by_refusing(parts: list[bytes]) -> None:
    with pytest.raises(BadExport):
        read_back(b"".join(parts))


@pytest.mark.parametrize(
    ("bug", "promise", "drawn"),
    [
        (drops_the_mark_of_base64, survives_the_round_trip, (exports(),)),
        (replaces_what_is_no_text, survives_the_round_trip, (exports(),)),
        (hashes_the_header_only, damage_is_refused_or_means_nothing, (exports(), st.data())),
        (takes_a_file_that_was_cut_off, lines_lost_doubled_or_swapped_are_refused, (exports(), st.data())),
    ],
)
def test_a_wrong_codec_breaks_its_promise(
    bug: Callable[[], AbstractContextManager[None]], promise: Callable[..., None], drawn: tuple[Any, ...]
) -> None:
    """So that what is proven above is not proven by a test that cannot fail."""

    once_more = settings(
        max_examples=1000, database=None, phases=[Phase.generate], report_multiple_bugs=False, deadline=None
    )
    with bug(), pytest.raises((AssertionError, BadExport, pytest.fail.Exception)):
        once_more(given(*drawn)(promise))()  # type: ignore[no-untyped-call]
