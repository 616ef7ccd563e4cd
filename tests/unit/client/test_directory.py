"""Whom a client asks first."""

from dataclasses import replace

from replicator.client.endpoints import Directory
from replicator.model.values import MemberStatus, NodeStatus

MEMBERS = {"n1": ("eu", "10.0.0.1:1"), "n2": ("us", "10.0.0.2:1"), "n3": ("ap", "10.0.0.3:1")}


def a_status(
    node_id: str,
    leader_id: str = "",
    term: int = 1,
    members: tuple[str, ...] = tuple(MEMBERS),
    membership_index: int = 0,
) -> NodeStatus:
    return NodeStatus(
        cluster_id="shop",
        node_id=node_id,
        region=MEMBERS[node_id][0],
        version="0",
        role="leader" if node_id == leader_id else "follower",
        term=term,
        leader_id=leader_id,
        commit_index=0,
        applied_index=0,
        last_index=0,
        revision=0,
        live_keys=0,
        data_bytes=0,
        staleness_ms=None,
        rolling_hash="",
        state_hash="",
        state_hash_index=0,
        read_only_reason="",
        members=tuple(
            MemberStatus(
                name, *MEMBERS[name], "", connected=True, leader=False, match_index=None, lag_entries=None, role="voter"
            )
            for name in members
        ),
        token="",
        uptime_s=0.0,
        membership_index=membership_index,
        heartbeat_ms=50,
        election_timeout_min_ms=300,
        election_timeout_max_ms=600,
    )


def a_directory(region: str | None = None, leader_id: str = "n2") -> Directory:
    """Knows all three nodes by the addresses given; n1 is near, n3 far."""
    directory = Directory([address for _, address in MEMBERS.values()], region)
    for latency_s, (node_id, (_, address)) in enumerate(MEMBERS.items()):
        directory.note_status(address, a_status(node_id, leader_id), float(latency_s))
    return directory


def test_reads_go_to_the_own_region_first_then_by_latency() -> None:
    assert a_directory("ap").for_reads() == ["10.0.0.3:1", "10.0.0.1:1", "10.0.0.2:1"]
    assert a_directory(None).for_reads() == ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]


def test_writes_go_to_the_leader_first_wherever_it_is() -> None:
    assert a_directory("ap").for_writes() == ["10.0.0.2:1", "10.0.0.3:1", "10.0.0.1:1"]


def test_an_endpoint_that_does_not_answer_is_asked_last_until_it_does() -> None:
    directory = a_directory("eu")

    directory.note_down("10.0.0.1:1")
    assert directory.for_reads()[-1] == "10.0.0.1:1"
    directory.note_up("10.0.0.1:1")
    assert directory.for_reads()[0] == "10.0.0.1:1"


def test_the_leader_of_the_newest_term_counts_whoever_tells() -> None:
    directory = a_directory(leader_id="n2")

    directory.note_status("10.0.0.1:1", a_status("n1", "n3", term=5), 0.0)
    directory.note_status("10.0.0.2:1", a_status("n2", "n2", term=4), 0.0)

    assert directory.for_writes()[0] == "10.0.0.3:1"


def test_a_leader_that_says_it_does_not_lead_is_not_asked_first_again() -> None:
    directory = a_directory("eu", leader_id="n3")

    directory.forget_leader("10.0.0.3:1")

    assert directory.for_writes()[0] == "10.0.0.1:1"


def test_members_that_were_not_given_are_found_through_one_that_was() -> None:
    directory = Directory(["10.0.0.1:1"], "us")

    assert directory.note_status("10.0.0.1:1", a_status("n1", "n3"), 0.1)

    assert directory.for_reads()[0] == "10.0.0.2:1"
    assert directory.for_writes()[0] == "10.0.0.3:1"
    assert not directory.note_status("10.0.0.1:1", a_status("n1", "n3"), 0.1)


def test_a_given_endpoint_is_preferred_over_the_advertised_address_of_the_same_node_while_it_answers() -> None:
    """The given one may be a proxy or a port forward: the advertised one need not be reachable from here."""
    directory = Directory(["proxy:9"], None)
    directory.note_status("proxy:9", a_status("n1"), 0.1)

    assert directory.for_reads() == ["proxy:9", "10.0.0.2:1", "10.0.0.3:1"]
    directory.note_down("proxy:9")
    assert directory.for_reads() == ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "proxy:9"]


def test_a_discovered_address_that_no_node_names_any_more_is_forgotten_and_a_given_one_is_not() -> None:
    directory = Directory(["10.0.0.1:1"], None)
    directory.note_status("10.0.0.1:1", a_status("n1"), 0.1)

    gone = directory.retire([a_status("n2", members=("n2",))])

    assert gone == ["10.0.0.3:1"]
    assert set(directory.addresses) == {"10.0.0.1:1", "10.0.0.2:1"}


def test_members_that_join_are_found_and_those_that_were_removed_are_forgotten() -> None:
    directory = Directory(["10.0.0.1:1"], None)
    directory.note_status("10.0.0.1:1", a_status("n1", members=("n1", "n2")), 0.1)

    grown = a_status("n1", members=("n1", "n3"), membership_index=7)
    assert directory.note_status("10.0.0.1:1", grown, 0.1)

    assert directory.retire([grown]) == ["10.0.0.2:1"]
    assert set(directory.addresses) == {"10.0.0.1:1", "10.0.0.3:1"}


def test_a_node_that_was_removed_and_has_not_heard_of_it_is_not_believed() -> None:
    """It still names itself and others that are gone; it would bring them back at every round, for ever."""
    directory = Directory(["10.0.0.1:1", "10.0.0.2:1"], None)
    newest = a_status("n1", "n1", members=("n1", "n3"), membership_index=7)
    removed = a_status("n2", "n2", term=1, membership_index=3)
    directory.note_status("10.0.0.1:1", newest, 0.2)

    assert not directory.note_status("10.0.0.2:1", removed, 0.1)

    assert directory.retire([newest, removed]) == []
    assert directory.retire([removed]) == [], "alone, it knows too little to forget anybody"
    assert "10.0.0.3:1" in directory.addresses


def test_a_node_that_is_no_member_is_asked_last_and_never_as_the_leader() -> None:
    directory = Directory(["10.0.0.1:1", "10.0.0.2:1"], "us")
    directory.note_status("10.0.0.1:1", a_status("n1", "n1", members=("n1", "n3"), membership_index=7), 0.2)
    directory.note_status("10.0.0.2:1", a_status("n2", "n2", term=9, membership_index=3), 0.1)

    assert directory.for_reads()[-1] == "10.0.0.2:1", "although its region is the preferred one"
    assert directory.for_writes()[0] == "10.0.0.1:1"


def test_a_node_that_waits_to_be_let_in_names_nobody_and_takes_nobody_away() -> None:
    directory = Directory(["10.0.0.1:1", "10.0.0.3:1"], None)
    directory.note_status("10.0.0.1:1", a_status("n1", members=("n1", "n2")), 0.1)
    joining = a_status("n3", members=())

    assert not directory.note_status("10.0.0.3:1", joining, 0.0)

    assert directory.retire([joining]) == []
    assert directory.for_reads()[-1] == "10.0.0.3:1"


def test_a_discovered_node_that_moved_is_known_by_its_new_address() -> None:
    directory = Directory(["10.0.0.1:1"], "us")
    directory.note_status("10.0.0.1:1", a_status("n1"), 0.1)
    before = a_status("n1", membership_index=5)
    moved = replace(
        before,
        members=tuple(replace(m, api_address="10.9.9.9:1") if m.node_id == "n2" else m for m in before.members),
    )

    assert directory.note_status("10.0.0.1:1", moved, 0.1)

    assert directory.retire([moved]) == ["10.0.0.2:1"]
    assert directory.for_reads()[0] == "10.9.9.9:1"
