"""The files of a log, as a power failure or a bad disk would change them."""

import random
from pathlib import Path

from replicator.storage.log.segment import SEGMENT_SUFFIX
from replicator.storage.log.turn_format import SEGMENT_HEAD_BYTES

SECTOR_BYTES = 512


def segments(data_dir: Path) -> list[Path]:
    """Of the only log, in their order."""
    [folder] = (data_dir / "log").iterdir()
    return sorted(folder.glob("*" + SEGMENT_SUFFIX))


def flip(file: Path, at: int) -> None:
    """One bit, as a disk would."""
    with file.open("r+b") as held:
        held.seek(at)
        byte = held.read(1)[0]
        held.seek(at)
        held.write(bytes((byte ^ 1,)))


def place_of(file: Path, what: bytes) -> int:
    """Where `what` is in the file, after its head."""
    return file.read_bytes().index(what, SEGMENT_HEAD_BYTES)


def scattered(old: bytes, new: bytes, dice: random.Random) -> bytes:
    """Any sectors of the new bytes over the old ones: none, some or all."""
    share = dice.choice((0.0, 0.5, 0.9, 1.0))
    return b"".join(
        (new if dice.random() < share else old)[at : at + SECTOR_BYTES] for at in range(0, len(new), SECTOR_BYTES)
    )
