"""One node's data, and a new group from them: all that the log holds, nothing of what it must not act on any more."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from replicator.machine.codec import NO_OP_PAYLOAD
from replicator.machine.group_entries import encode_membership
from replicator.model.errors import DataDirectoryError
from replicator.model.ids import ClusterId, LogIndex, NodeId, Region, Term
from replicator.model.incarnation import Incarnation, KnownIncarnation
from replicator.model.limits import TERM_MAX
from replicator.model.log import Entry, HardState, TurnWrite
from replicator.model.members import GROUP_SECRET_BYTES, Member, MemberRole, Membership
from replicator.storage import Recovery, Storage, foresee, recover
from replicator.storage.layout import Databases, Header
from replicator.storage.snapshots.files import opened_file
from tests.support.commands import a_turn, an_entry, by, put
from tests.support.recovering_process import ME, SIZE_MAX_BYTES
from tests.support.storage_process import opened
from tests.support.stores import a_past, follow
from tests.support.tampering import forge_entry, forge_hard_state, log_of, tampering

CLUSTER = ClusterId("c")
OTHERS = tuple(Member(NodeId(name), Region("eu"), "h:1", "h:2", directory_id=name[:1].encode() * 16) for name in "nxy")
OLD = Membership(LogIndex(0), OTHERS, b"f" * 16, b"s" * GROUP_SECRET_BYTES)


def done(data: Path) -> Recovery:
    return recover(data, CLUSTER, ME, size_max_bytes=SIZE_MAX_BYTES)


def a_survivor(data: Path, *tail: Entry, commit_index: int = 4) -> Path:
    """A member of a group of three, term 3: entries 1 to 3, a membership, then `tail`; committed as said."""
    storage = opened(data)
    follow(storage, a_past(3))
    joined = Entry(encode_membership(OLD), LogIndex(4), Term(3))
    storage.commit(
        TurnWrite(
            append=(joined, *tail),
            hard_state=HardState(Term(3), NodeId("x"), LogIndex(commit_index)),
            apply=(joined, *tail)[: commit_index - 3],
        )
    )
    storage.close()
    return data


def test_what_the_log_holds_beyond_the_commit_index_counts(tmp_path: Path) -> None:
    """An acknowledged write may be there: a follower hears of a commit with the next append only."""
    tail = (an_entry(5, put(b"acknowledged", b"1", by(7, 1)), term=3), an_entry(6, put(b"later", b"2"), term=3))
    data = a_survivor(tmp_path / "data", *tail)
    recovery = done(data)
    assert (recovery.applied_index, recovery.commit_index, recovery.end_index, recovery.last_index) == (4, 4, 6, 6)
    assert (recovery.stopped_by, recovery.term, recovery.members) == (None, 4, ("n", "x", "y"))

    storage = opened(data)
    for key, value in ((b"acknowledged", b"1"), (b"later", b"2")):
        found = storage.get(key)[0]
        assert found is not None
        assert found.value == value
    again = an_entry(8, put(b"acknowledged", b"1", by(7, 1)), term=4)
    assert storage.commit(a_turn(again, term=4))[0][0].duplicate, "a retry after the recovery is still told"
    storage.close()


def test_a_node_whose_data_file_holds_nothing_so_far_loses_nothing_of_its_log(tmp_path: Path) -> None:
    """Killed within a second of its first start, before the state was flushed for the first time."""
    first, group = Entry(NO_OP_PAYLOAD, LogIndex(1), Term(0)), Entry(encode_membership(OLD), LogIndex(2), Term(1))
    writes = tuple(an_entry(index, put(b"key-%d" % index), term=1) for index in range(3, 6))
    storage = opened(tmp_path / "data")
    storage.commit(TurnWrite(append=(first, group, *writes), hard_state=HardState(Term(1), None, LogIndex(0))))
    storage.close(flushed=False)
    recovery = done(tmp_path / "data")
    assert (recovery.applied_index, recovery.end_index, recovery.stopped_by) == (0, 5, None)
    assert recovery.members == ("n", "x", "y")

    storage = opened(tmp_path / "data")
    for index in range(3, 6):
        assert storage.get(b"key-%d" % index)[0] is not None
    storage.close()


def test_the_new_group_is_this_node_alone_and_nothing_of_the_old_one_can_act(tmp_path: Path) -> None:
    data = a_survivor(tmp_path / "data", an_entry(5, put(b"k"), term=3))
    storage = opened(data, joining=True)
    storage.note_incarnation(NodeId("x"), KnownIncarnation(b"x" * 16, Incarnation(9, b"r" * 16)))
    before, old_id = storage.incarnation.number, storage.directory_id
    storage.mark_superseded("a test")
    storage.close()
    done(data)

    storage = opened(data)
    membership = storage.membership()
    assert membership is not None
    assert membership.index == storage.position.applied_index == 6
    (me,) = membership.members
    assert (me.node_id, me.region, me.peer_address, me.api_address) == ("n", "eu", "127.0.0.1:1", "127.0.0.1:2")
    assert (me.role, me.directory_id) == (MemberRole.VOTER, storage.directory_id)
    assert membership.founder == storage.directory_id not in (old_id, OLD.founder)
    assert len(membership.secret) == GROUP_SECRET_BYTES
    assert membership.secret != OLD.secret
    assert storage.hard_state() == HardState(Term(4), None, LogIndex(6))
    bounds = storage.load_log()
    assert (bounds.first_index, bounds.last_index, bounds.last_term) == (6, 6, 4)
    assert storage.digest_at(LogIndex(6)) == storage.position.rolling_hash
    assert storage.digest_at(LogIndex(5)) is None
    assert not storage.joining
    assert storage.known_incarnation(NodeId("x")) is None
    assert storage.incarnation.number == before + 2, "counted on: by the recovery, and by this run"
    storage.close()


def test_the_members_of_the_tail_are_those_of_the_old_group_too(tmp_path: Path) -> None:
    """A membership that was on its way takes no part."""
    grown = Membership(LogIndex(0), (*OTHERS, Member(NodeId("z"), Region("eu"), "h:1", "h:2")), OLD.founder, OLD.secret)
    data = a_survivor(tmp_path / "data", Entry(encode_membership(grown), LogIndex(5), Term(3)))
    assert done(data).members == ("n", "x", "y", "z"), "also what the data file does not hold, only the log"
    storage = opened(data)
    membership = storage.membership()
    assert membership is not None
    assert [member.node_id for member in membership.members] == ["n"]
    storage.close()


def test_foreseeing_says_the_same_and_writes_nothing(tmp_path: Path) -> None:
    data = a_survivor(tmp_path / "data", an_entry(5, put(b"k"), term=3))
    before = {file: file.read_bytes() for file in data.rglob("*") if file.is_file()}
    foreseen = foresee(data, CLUSTER, NodeId("n"))
    assert {file: file.read_bytes() for file in data.rglob("*") if file.is_file()} == before
    assert done(data) == foreseen


def test_what_an_operator_should_know_of_the_directory_is_told(tmp_path: Path) -> None:
    data = a_survivor(tmp_path / "data")
    storage = opened(data)
    storage.mark_superseded("us-1 has met run 7")
    storage.close()
    assert foresee(data, CLUSTER, NodeId("n")).superseded == "us-1 has met run 7"
    done(data)
    assert foresee(data, CLUSTER, NodeId("n")).superseded is None


def test_recovering_twice_founds_another_group_each_time_and_loses_nothing(tmp_path: Path) -> None:
    data = a_survivor(tmp_path / "data", an_entry(5, put(b"k", b"v"), term=3))
    founders, hashes = set(), set()
    for number in range(3):
        recovery = done(data)
        assert recovery.founding_index == 6 + number
        storage = opened(data)
        membership = storage.membership()
        assert membership is not None
        founders.add(membership.founder)
        hashes.add(storage.state_hash()[0])
        storage.close()
    assert len(founders) == 3
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("term", "payload", "told"),
    [
        (2**64 - 2, NO_OP_PAYLOAD, "entry 6 has term 18446744073709551614, after term 3"),
        (0, NO_OP_PAYLOAD, "entry 6 has term 0, after term 3"),
        (2, NO_OP_PAYLOAD, "entry 6 has term 2, after term 3"),
        (3, b"\x00garbage", "entry 6 does not decode"),
        (3, b"", "entry 6 does not decode"),
        (3, b"\x02\xff", "entry 6 does not decode"),
    ],
)
def test_the_tail_ends_where_an_entry_cannot_be_honest(tmp_path: Path, term: int, payload: bytes, told: str) -> None:
    data = a_survivor(tmp_path / "data", an_entry(5, put(b"good", b"1"), term=3))
    forge_entry(data, 6, term=term, payload=payload)
    forge_entry(data, 7)
    recovery = done(data)
    assert (recovery.stopped_by, recovery.end_index, recovery.last_index, recovery.term) == (told, 5, 7, 4)
    storage = opened(data)
    assert storage.get(b"good")[0] is not None
    storage.close()


def test_an_entry_that_no_node_could_read_and_all_have_committed_does_not_end_it(tmp_path: Path) -> None:
    bad = Entry(b"\x00garbage", LogIndex(5), Term(3))
    data = a_survivor(tmp_path / "data", bad, an_entry(6, put(b"behind", b"1"), term=3), commit_index=4)
    forge_hard_state(data, term=3, commit_index=5)
    assert done(data).end_index == 6


@pytest.mark.parametrize("commit_index", [4, 2**64 - 2])
def test_a_forged_hard_state_is_refused_in_words_and_recovered_from(tmp_path: Path, commit_index: int) -> None:
    data = a_survivor(tmp_path / "data", an_entry(5, put(b"k", b"v"), term=3))
    forge_hard_state(data, term=2**64 - 2, commit_index=commit_index)
    with pytest.raises(DataDirectoryError) as caught:
        opened(data)
    assert "term 18446744073709551614 is out of range" in str(caught.value)
    assert "`replicator recover`" in str(caught.value)
    recovery = done(data)
    assert (recovery.commit_index, recovery.end_index, recovery.term) == (4, 5, 4)
    storage = opened(data)
    assert storage.hard_state() == HardState(Term(4), None, LogIndex(6))
    storage.close()


def test_terms_near_the_end_of_their_range_begin_anew(tmp_path: Path) -> None:
    """A forger who stays within it could otherwise leave a group that can elect nobody."""
    data = a_survivor(tmp_path / "data", an_entry(5, put(b"k"), term=TERM_MAX))
    assert done(data).term == 1
    storage = opened(data)
    storage.commit(TurnWrite(hard_state=HardState(Term(2), NodeId("n"), LogIndex(6))))
    storage.close()


def test_numbers_out_of_range_are_never_written(tmp_path: Path) -> None:
    for write in (
        TurnWrite(hard_state=HardState(Term(TERM_MAX + 1), None, LogIndex(0))),
        TurnWrite(append=(an_entry(1, put(b"k"), term=TERM_MAX + 1),)),
    ):
        storage = opened(tmp_path / "data")
        with pytest.raises(Exception, match="out of range"):
            storage.commit(write)
        storage.close()


def test_what_cannot_be_recovered_is_refused_in_one_line(tmp_path: Path) -> None:
    def refusal(data: Path, cluster: str = "c") -> str:
        with pytest.raises(DataDirectoryError) as caught:
            recover(data, ClusterId(cluster), ME, size_max_bytes=SIZE_MAX_BYTES)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    data = a_survivor(tmp_path / "data")
    assert "of cluster c, this node of other" in refusal(data, "other")
    opened(tmp_path / "fresh").close()
    assert "holds nothing to recover" in refusal(tmp_path / "fresh")
    assert "holds no data.mdb" in refusal(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()
    storage = opened(data)
    assert "in use by process" in refusal(data)
    storage.close()


def test_damage_is_found_wherever_it_is_also_in_what_a_recovery_does_not_read(tmp_path: Path) -> None:
    data = a_survivor(tmp_path / "data")
    file = data / "data.mdb"
    with opened_file(file, file.stat().st_size) as env, env.begin() as txn:
        databases = Databases.open(env, txn, create=False)
        stats = [txn.stat(getattr(databases, name)) for name in Databases.__slots__]
        used = sum(stat[kind] for stat in stats for kind in ("branch_pages", "leaf_pages", "overflow_pages"))
        last = env.info()["last_pgno"]
    sound, refused = file.read_bytes(), 0
    for page in range(2, last + 1):
        file.write_bytes(sound[: page * 4096] + b"\xff" * 4096 + sound[(page + 1) * 4096 :])
        try:
            foresee(data, CLUSTER, NodeId("n"))
        except DataDirectoryError as error:
            assert "damaged or not written by replicator" in str(error)  # noqa: PT017
            refused += 1
    assert refused >= used, "the others are free"
    file.write_bytes(sound)
    foresee(data, CLUSTER, NodeId("n"))


def state_of(data: Path) -> tuple[object, ...]:
    """What the recovery changes; the directory is not opened for a run, since that would count."""
    with log_of(data) as log, tampering(data) as (txn, databases):
        marks = [txn.get(name, db=databases.meta) for name in (b"superseded", b"joining")]
        return log.bounds(), log.hard_state(), replace(Header.load(txn, databases), rolling_hash=b""), *marks


def test_killed_at_any_step_the_directory_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    data = a_survivor(tmp_path / "data", *(an_entry(index, put(b"k%d" % index), term=3) for index in range(5, 10)))
    storage = opened(data)
    storage.mark_superseded("a test")
    storage.close()
    old = state_of(data)
    shutil.copytree(data, tmp_path / "new")
    done(tmp_path / "new")
    new = state_of(tmp_path / "new")
    assert new != old
    seen: list[str] = []
    for step in range(60):
        copy = tmp_path / f"copy-{step}"
        shutil.copytree(data, copy)
        command = [sys.executable, "-m", "tests.support.recovering_process", str(copy), str(step)]
        code = subprocess.run(command, check=False, timeout=60).returncode
        state = state_of(copy)
        assert state in (old, new), step
        seen.append("old" if state == old else "new")
        assert code in (0, -9)
        done(copy)
        opened(copy).close()
        shutil.rmtree(copy)
        if code == 0:
            break
    assert code == 0, "there are fewer steps than that"
    assert seen == sorted(seen, reverse=True)
    assert seen.count("old") > 10
    assert seen.count("new") > 1


def test_a_storage_that_recovered_goes_on(tmp_path: Path) -> None:
    data = a_survivor(tmp_path / "data")
    done(data)
    storage: Storage = opened(data)
    storage.commit(TurnWrite(hard_state=HardState(Term(5), NodeId("n"), LogIndex(5))))
    storage.commit(a_turn(an_entry(6, put(b"k", b"v"), term=6), term=6))
    storage.close()
    again = opened(data)
    assert again.position.applied_index == 6
    again.close()
