"""`import` and `export` refuse what cannot be right before they ask a cluster: there is none here."""

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from replicator.cli.main import run
from replicator.core.export_format import LINE_BYTES_MAX
from tests.support.exports import an_export

WHOLE = an_export({b"a": b"1", b"b\xff": b"\x00\xfe", b"c": b"3"})
HEADER, *PAIRS, END = WHOLE.splitlines(keepends=True)


def ended(*lines: bytes) -> bytes:
    """With the last line that belongs to these."""
    text = b"".join(lines)
    return text + json.dumps({"count": len(lines) - 1, "sha256": sha256(text).hexdigest()}).encode() + b"\n"


def a_line(**members: object) -> bytes:
    pair = {"key": "a", "value": "v", "create_revision": 1, "mod_revision": 1, "version": 1}
    return json.dumps({name: value for name, value in (pair | members).items() if value is not None}).encode() + b"\n"


REFUSED = {
    "empty": (b"", "line 1: the file ends before the last line of the export: it was cut off"),
    "cut off between lines": (HEADER + PAIRS[0], "line 3: the file ends before the last line"),
    "cut off within a line": (HEADER + PAIRS[0][:-3], "line 2: the file ends within this line"),
    "another format": (b'{"kvs": [\n', "line 1: not one object in JSON: this is no file of `replicator export`"),
    "no header": (PAIRS[0], "line 1: no header of an export: this is no file of `replicator export`"),
    "a newer version": (
        HEADER.replace(b'"version": 1', b'"version": 2'),
        "line 1: the file has version 2 of the format, this release reads version 1",
    ),
    "a changed value": (WHOLE.replace(b'"value": "1"', b'"value": "2"'), "line 5: the lines before do not have this"),
    "a line less": (HEADER + PAIRS[0] + PAIRS[2] + END, "line 4: counts 3 pairs, and 2 stand before it"),
    "swapped lines": (HEADER + PAIRS[1] + PAIRS[0] + PAIRS[2] + END, "line 3: the key is not greater than that of"),
    "lines after the end": (WHOLE + PAIRS[0], "line 6: more follows the last line of the export"),
    "a value that is too large": (
        ended(HEADER, a_line(value="x" * (1 << 20) + "x")),
        "line 2: value has 1048577 bytes, the limit is 1 MiB",
    ),
    "a key that is too long": (ended(HEADER, a_line(key="k" * 4097)), "line 2: key has 4097 bytes, 1 to 4096 are"),
    "an empty key": (ended(HEADER, a_line(key="")), "line 2: key has 0 bytes"),
    "a line that does not end": (HEADER + b" " * (LINE_BYTES_MAX + 1), f"line 2: more than {LINE_BYTES_MAX} bytes"),
    "a member too many": (ended(HEADER, a_line(lease=1)), "line 2: needs the members create_revision, key, mod_re"),
    "text and base64": (ended(HEADER, a_line(key_base64="YQ==")), "line 2: needs the members"),
    "no base64": (ended(HEADER, a_line(key=None, key_base64="Y!==")), "line 2: key is no text, and key_base64 no"),
    "a number as text": (ended(HEADER, a_line(version="1")), "line 2: version is no whole number"),
    "true as a number": (ended(HEADER, a_line(version=True)), "line 2: version is no whole number"),
    "a revision of the future": (ended(HEADER, a_line(mod_revision=2)), "line 2: the revisions contradict each other"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_whole_export_is_refused_with_its_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before any connection: nobody listens at that port, and that is not what is complained about."""
    content, problem = REFUSED[name]
    file = tmp_path / "export.jsonl"
    file.write_bytes(content)
    assert run(["import", str(file), "--endpoints", "127.0.0.1:1"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(f"replicator: {file}: {problem}")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import", str(tmp_path / "nowhere")]) == 2
    assert "nowhere: cannot be read (No such file or directory); check its path" in capsys.readouterr().err
    assert run(["import", str(tmp_path)]) == 2
    assert "cannot be read (Is a directory)" in capsys.readouterr().err


def test_a_sound_file_meets_the_cluster_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "export.jsonl").write_bytes(WHOLE)
    arguments = ["import", str(tmp_path / "export.jsonl"), "--endpoints", "127.0.0.1:1", "--timeout", "0.3"]
    assert run(arguments) == 3
    how_far, error = capsys.readouterr().err.splitlines()
    assert how_far.startswith(
        "replicator: stopped after written=0 already_there=0 overwritten=0 skipped=0; run it again"
    )
    assert error.startswith("replicator: UNAVAILABLE: cannot connect to 127.0.0.1:1")


def piped(content: bytes, *arguments: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, "-m", "replicator", "import", "-", *arguments],
        input=content,
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "REPLICATOR_ENDPOINTS": "127.0.0.1:1"},
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_a_pipe_is_said_to_be_unchecked_and_a_redirected_file_is_checked(tmp_path: Path) -> None:
    done = piped(HEADER)
    unchecked, _, error = done.stderr.splitlines()
    assert "this input can be read only once, so it is not checked before" in unchecked
    assert (done.returncode, error.startswith("replicator: stdin: line 2: the file ends before")) == (2, True)

    (tmp_path / "export.jsonl").write_bytes(HEADER)
    with (tmp_path / "export.jsonl").open("rb") as stdin:
        checked = subprocess.run(
            [sys.executable, "-m", "replicator", "import", "-"],
            stdin=stdin,
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert checked.stderr.startswith(b"replicator: stdin: line 2: the file ends before")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["-o", "json"], "-o names a file here; for one with that name: -o ./json"),
        (["-o", ""], "-o names no file"),
        (["--prefix", "a", "--end", "b"], "--prefix, or --start and --end, not both"),
        (["--start", "b", "--end", "b"], "--end must be greater than --start"),
        (["--data-dir", "d", "--endpoints", "127.0.0.1:1"], "--data-dir asks no cluster"),
        (["--data-dir", "d", "--consistency", "local"], "--data-dir asks no cluster"),
    ],
)
def test_options_of_export_that_contradict_each_other_are_refused(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"replicator: usage: {problem}")


def test_an_export_that_fails_leaves_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "export.jsonl"
    assert run(["export", "--endpoints", "127.0.0.1:1", "--timeout", "0.3", "-o", str(target)]) == 3
    assert list(tmp_path.iterdir()) == []
