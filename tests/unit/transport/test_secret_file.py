"""The secret of a cluster as a file."""

from pathlib import Path

import pytest

from replicator.model.errors import StartupError
from replicator.transport.handshake.secret_file import SECRET_CHARS_MIN, SecretFile


def a_file(folder: Path, text: str, mode: int = 0o600) -> SecretFile:
    path = folder / "cluster.secret"
    path.write_text(text)
    path.chmod(mode)
    return SecretFile(path)


def test_the_same_text_makes_the_same_key_whatever_ends_its_line(tmp_path: Path) -> None:
    text = "x" * SECRET_CHARS_MIN
    keys = {a_file(tmp_path, text + end).read() for end in ("", "\n", "\r\n")}
    assert len(keys) == 1
    assert a_file(tmp_path, text + "y").read() not in keys
    assert text.encode() not in keys


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_a_group_may_read_the_file(tmp_path: Path, mode: int) -> None:
    """Volumes in Kubernetes have one."""
    assert a_file(tmp_path, "x" * SECRET_CHARS_MIN, mode).read()


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o666])
def test_a_file_that_everybody_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(StartupError, match=r"^cluster\.secret_file: .*by everybody: `chmod 600 .*cluster\.secret`$"):
        a_file(tmp_path, "x" * SECRET_CHARS_MIN, mode).read()


@pytest.mark.parametrize("text", ["", "\n", "short", "x" * (SECRET_CHARS_MIN - 1) + "\n"])
def test_a_short_secret_is_refused_with_the_command_that_makes_one(tmp_path: Path, text: str) -> None:
    with pytest.raises(StartupError, match=rf"^cluster\.secret_file: .*has {SECRET_CHARS_MIN} at least: make one by"):
        a_file(tmp_path, text).read()


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"^cluster\.secret_file: .*absent cannot be read: No such file"):
        SecretFile(tmp_path / "absent").read()
