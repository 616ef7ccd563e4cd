"""What a watch asks for: keys, prefixes, ranges, kinds; and what of it can be refused before anything is looked at."""

from dataclasses import dataclass
from typing import Final

from replicator.model.changes import ChangeKind
from replicator.model.limits import KEY_BYTES_MAX
from replicator.service.validate import check_key, check_range, refuse

WATCH_RANGES_MAX: Final = 256  # keys, prefixes and ranges of one watch
PROGRESS_MS_MIN: Final = 100
PROGRESS_MS_MAX: Final = 600_000
PROGRESS_MS_DEFAULT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A change is wanted if its key is one of `keys`, or has one of `prefixes`, or lies in one of `ranges`.

    ranges: [start, end), an empty end meaning no end. kinds: None for all.
    """

    keys: frozenset[bytes] = frozenset()
    prefixes: tuple[bytes, ...] = ()
    ranges: tuple[tuple[bytes, bytes], ...] = ()
    kinds: frozenset[ChangeKind] | None = None

    def matches(self, key: bytes, is_delete: bool) -> bool:
        if self.kinds is not None and (ChangeKind.DELETE if is_delete else ChangeKind.PUT) not in self.kinds:
            return False
        return (
            key in self.keys
            or key.startswith(self.prefixes)
            or any(start <= key and (not end or key < end) for start, end in self.ranges)
        )


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """from_revision: the first one wanted, 0 for none given. token: empty for none. Neither: from now on.

    progress_ms: after so long without a word, a mark of progress; 0 for the default. answer_bytes: how much of changes
    one batch holds before it ends; a revision that holds more comes in parts.
    """

    wanted: Wanted
    from_revision: int = 0
    token: str = ""
    keys_only: bool = False
    with_previous: bool = False
    progress_ms: int = 0

    @property
    def progress_s(self) -> float:
        return (self.progress_ms or PROGRESS_MS_DEFAULT) / 1000.0


def check_watch(options: WatchOptions) -> None:
    """Raises InvalidArgument, naming the field."""
    wanted = options.wanted
    count = len(wanted.keys) + len(wanted.prefixes) + len(wanted.ranges)
    if not 1 <= count <= WATCH_RANGES_MAX:
        raise refuse(
            "keys",
            f"and prefixes and ranges are {count} together; a watch has 1 to {WATCH_RANGES_MAX} (an empty prefix: all)",
            limit=WATCH_RANGES_MAX,
        )
    for key in wanted.keys:
        check_key(key)
    for prefix in wanted.prefixes:
        if len(prefix) > KEY_BYTES_MAX:
            raise refuse(
                "prefixes", f"has one of {len(prefix)} bytes, the limit is {KEY_BYTES_MAX}", limit=KEY_BYTES_MAX
            )
    for start, end in wanted.ranges:
        check_range(start, end)
    if options.from_revision and options.token:
        raise refuse("from_revision", "and token are both given; a watch begins at one of them")
    if options.progress_ms and not PROGRESS_MS_MIN <= options.progress_ms <= PROGRESS_MS_MAX:
        raise refuse(
            "progress_ms",
            f"is {options.progress_ms}, must be {PROGRESS_MS_MIN} to {PROGRESS_MS_MAX}",
            limit=PROGRESS_MS_MAX,
        )
