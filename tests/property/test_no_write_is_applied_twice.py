"""Whatever arrives, however often and however late: no write of a client is evaluated twice, forgotten or not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from replicator.machine import sessions
from replicator.machine.outcomes import APPLIED
from replicator.model.limits import FORMAT_LIMITS, FORMAT_LIMITS_NUMBER, FormatLimits
from tests.support.commands import applied, by, client, put
from tests.support.memory_store import MemoryStore

# As in use, but for a table that is full at once.
FEW: FormatLimits = replace(FORMAT_LIMITS[FORMAT_LIMITS_NUMBER], sessions_max=2)
BEGIN_MS = 1_000_000_000
CLIENTS = 5


@dataclass
class Steps:
    """What a seed does: clients write, draw new ids, and what they sent arrives again, at any later time."""

    store: MemoryStore = field(default_factory=MemoryStore)
    now_ms: int = BEGIN_MS
    sent: list[tuple[int, int, int, int]] = field(default_factory=list)  # id, sequence, oldest pending, issued
    drawn: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # client -> its id, issued, last sequence
    happened: set[tuple[int, int]] = field(default_factory=set)
    ids: int = 0

    def __post_init__(self) -> None:
        self.store.limits = FEW

    def wait(self, milliseconds: int) -> None:
        self.now_ms += milliseconds

    def draw(self, number: int, clock_error_ms: int) -> None:
        self.ids += 1
        self.drawn[number] = (self.ids, max(1, self.now_ms + clock_error_ms), 0)

    def write(self, number: int, waits_for_all: bool) -> None:
        if number not in self.drawn:
            self.draw(number, 0)
        name, issued_ms, sequence = self.drawn[number]
        sequence += 1
        self.drawn[number] = name, issued_ms, sequence
        self.sent.append((name, sequence, 1 if waits_for_all else sequence, issued_ms))
        self.arrive(len(self.sent) - 1)

    def arrive(self, at: int) -> None:
        """Raises AssertionError if a write happens for the second time."""
        if not self.sent:
            return
        name, sequence, oldest_pending, issued_ms = self.sent[at % len(self.sent)]
        write = put(b"k", b"%d" % sequence, by(name, sequence, oldest_pending, issued_ms))
        [outcome] = applied(self.store, write, time_ms=self.now_ms)
        if outcome.status == APPLIED and not outcome.duplicate:
            assert (name, sequence) not in self.happened, f"write {sequence} of {client(name).hex()} happened twice"
            self.happened.add((name, sequence))
        assert self.store.session_count() <= FEW.sessions_max


numbers = st.integers(0, CLIENTS - 1)
# Around what decides: how old an id may be, how long a client is remembered.
times = st.sampled_from((0, 1, 30_000, 60_000, 90_000, 120_000, 180_000, 240_000, 3_600_000)) | st.integers(0, 400_000)
errors = st.sampled_from((0, 59_999, 60_000, 60_001, -60_000, -120_000)) | st.integers(-200_000, 200_000)
step = st.one_of(
    st.tuples(st.just("wait"), times),
    st.tuples(st.just("draw"), numbers, errors),
    st.tuples(st.just("write"), numbers, st.booleans()),
    st.tuples(st.just("arrive"), st.integers(0, 30)),
)
scripts = st.lists(step, max_size=40)


def run(script: Sequence[tuple[object, ...]]) -> None:
    steps = Steps()
    for name, *arguments in script:
        act: Callable[..., None] = getattr(steps, str(name))
        act(*arguments)


@settings(max_examples=600)
@given(scripts)
def test_no_write_happens_twice(script: list[tuple[object, ...]]) -> None:
    run(script)


def broken(script: Sequence[tuple[object, ...]]) -> bool:
    try:
        run(script)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize(
    "bug",
    ["takes every client that is not remembered for a new one", "forgets a client while its id is young"],
)
def test_a_planted_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if bug.startswith("takes"):
        monkeypatch.setattr(sessions, "_why_not_new", lambda *_: "")
    else:
        monkeypatch.setattr(sessions, "_is_idle", lambda oldest, *_: bool(oldest))
    quiet = settings(max_examples=5_000, suppress_health_check=list(HealthCheck), database=None)
    found = find(scripts, broken, settings=quiet)
    assert broken(found)
