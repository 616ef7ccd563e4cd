"""A file has its name only once it is whole; what cannot be written is said in one line, and leaves nothing behind."""

import os
import resource
import stat
from pathlib import Path

import pytest

from replicator.cli.exit_codes import CommandFailed
from replicator.cli.whole_file import whole_file


def test_a_file_appears_when_the_block_ends_and_replaces_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "data.jsonl"
    target.write_bytes(b"old")
    with whole_file(str(target)) as file:
        file.write(b"new")
        file.flush()
        assert target.read_bytes() == b"old"
        (beside,) = set(tmp_path.iterdir()) - {target}
        assert beside.name.startswith(".data.jsonl.")
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_error_leaves_what_was_there_and_nothing_beside(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "data.jsonl"
    target.write_bytes(b"old")

    def fails() -> None:
        with whole_file(str(target)) as file:
            file.write(b"new")
            raise error

    with pytest.raises((type(error), CommandFailed)):
        fails()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_no_longer_fits_leaves_what_was_there_and_is_said_in_one_line(tmp_path: Path) -> None:
    """The system refuses it while the last bytes are flushed, as a full disk would."""
    target = tmp_path / "data.jsonl"
    target.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fails() -> None:
        with whole_file(str(target)) as file:
            file.write(b"x" * 5000)

    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(CommandFailed, match=r"data\.jsonl: cannot be written \(File too large\); check its path"):
            fails()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_is_followed_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real" / "data")
    with whole_file(str(link)) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert (tmp_path / "real" / "data").read_bytes() == b"new"


@pytest.mark.parametrize("special", ["pipe", "directory"])
def test_a_device_a_pipe_or_a_directory_is_not_replaced(tmp_path: Path, special: str) -> None:
    path = tmp_path / special
    os.mkfifo(path) if special == "pipe" else path.mkdir()
    with pytest.raises(CommandFailed, match="no regular file; use `-o -` and redirect stdout"), whole_file(str(path)):
        pass
    assert path.exists()


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "data"
    with pytest.raises(CommandFailed, match=f"{path}: cannot be written \\(No such file"), whole_file(str(path)):
        pass
