"""Bad input ends in one line that names the field and the remedy; good input in a frozen value."""

import copy
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from replicator.config.load import load_config, parse_config
from replicator.model.addresses import ADDRESS_FORM
from replicator.model.errors import ConfigError


def a_raw_config() -> dict[str, Any]:
    """What a valid file of node eu-1 holds."""
    return {
        "node": {"id": "eu-1", "region": "eu", "data_dir": "data"},
        "cluster": {
            "id": "orders",
            "secret_file": "cluster.secret",
            "members": [
                {"id": "eu-1", "region": "eu", "peer": "127.0.0.1:7101", "api": "127.0.0.1:7001"},
                {"id": "us-1", "region": "us", "peer": "127.0.0.1:7102", "api": "127.0.0.1:7002"},
                {"id": "ap-1", "region": "ap", "peer": "127.0.0.1:7103", "api": "127.0.0.1:7003"},
            ],
        },
        "listen": {"admin": "127.0.0.1:7201"},
    }


REMOVED = object()


def with_change(path: str, value: object) -> dict[str, Any]:
    """The valid file with one field set or removed; list positions are numbers in the path."""
    raw = copy.deepcopy(a_raw_config())
    *parents, last = path.split(".")
    place: Any = raw
    for part in parents:
        place = place[int(part)] if part.isdecimal() else place.setdefault(part, {})
    if value is REMOVED:
        del place[last]
    else:
        place[last] = value
    return raw


def problem_of(raw: dict[str, Any], base_dir: Path = Path("/base")) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_config(raw, base_dir)
    assert "\n" not in str(caught.value), "an operator gets one line"
    return caught.value


def test_a_valid_file_is_read_and_its_paths_are_relative_to_it(tmp_path: Path) -> None:
    file = tmp_path / "eu-1.toml"
    file.write_text(
        """
        [node]
        id = "eu-1"
        region = "eu"
        data_dir = "data"

        [cluster]
        id = "orders"
        secret_file = "cluster.secret"
        members = [{ id = "eu-1", region = "eu", peer = "127.0.0.1:7101", api = "127.0.0.1:7001" }]

        [raft]
        profile = "wan"
        """
    )

    config = load_config(file)

    assert config.node.data_dir == str(tmp_path / "data")
    assert config.cluster.secret_file == str(tmp_path / "cluster.secret")
    assert config.me.api == "127.0.0.1:7001"
    assert config.api_listen == "127.0.0.1:7001"
    assert config.raft.profile == "wan"


def test_a_configuration_cannot_be_changed_after_it_was_checked() -> None:
    config = parse_config(a_raw_config(), Path("/base"))

    with pytest.raises(ValidationError):
        config.node.id = "us-1"


def test_listen_wins_over_what_the_member_list_advertises() -> None:
    raw = with_change("listen.api", "127.0.0.1:9001")
    raw["listen"]["peer"] = "127.0.0.1:9101"

    config = parse_config(raw, Path("/base"))

    assert (config.api_listen, config.peer_listen) == ("127.0.0.1:9001", "127.0.0.1:9101")
    assert config.me.api == "127.0.0.1:7001"


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("raft.profil", "wan", "raft.profil: unknown key; did you mean 'profile'?"),
        ("nodes", {}, "nodes: unknown key; did you mean 'node'?"),
        ("tls.zzz", 1, "tls.ca_file: is required"),
        (
            "storage.quux",
            1,
            "storage.quux: unknown key; known here: log_entries_max, log_mib_max, size_max_mib",
        ),
        ("cluster.members.1.regoin", "us", "cluster.members.1.regoin: unknown key; did you mean 'region'?"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(path: str, value: object, line: str) -> None:
    assert str(problem_of(with_change(path, value))) == line


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("node.id", REMOVED, "node.id: is required"),
        ("cluster", REMOVED, "cluster: is required"),
        ("node.data_dir", "", "node.data_dir: String should have at least 1 character (got '')"),
        ("node.id", 7, "node.id: Input should be a valid string (got 7)"),
        (
            "node.id",
            "EU_1",
            "node.id: must be 1 to 63 of a-z, 0-9 and '-', not beginning or ending with '-' (got 'EU_1')",
        ),
        (
            "cluster.id",
            "-x",
            "cluster.id: must be 1 to 63 of a-z, 0-9 and '-', not beginning or ending with '-' (got '-x')",
        ),
        ("listen.api", "7001", "listen.api: must be " + ADDRESS_FORM + " (got '7001')"),
        ("listen.api", "h:0", "listen.api: must be " + ADDRESS_FORM + " (got 'h:0')"),
        ("listen.admin", "h:65536", "listen.admin: must be " + ADDRESS_FORM + " (got 'h:65536')"),
        ("raft.profile", "moon", "raft.profile: Input should be 'lan', 'wan' or 'auto' (got 'moon')"),
        ("raft.heartbeat_s", 0, "raft.heartbeat_s: Input should be greater than 0 (got 0)"),
        ("raft.heartbeat_s", "0.1", "raft.heartbeat_s: Input should be a valid number (got '0.1')"),
        (
            "raft.leader_preference",
            ["eu", "U"],
            "raft.leader_preference.1: must be 1 to 63 of a-z, 0-9 and '-', not beginning or ending with '-' (got 'U')",
        ),
        ("raft.leader_preference", "eu", "raft.leader_preference: Input should be a valid tuple (got 'eu')"),
        (
            "limits.calls_in_flight_max",
            0,
            "limits.calls_in_flight_max: Input should be greater than or equal to 1 (got 0)",
        ),
        (
            "limits.calls_in_flight_max",
            True,
            "limits.calls_in_flight_max: Input should be a valid integer (got True)",
        ),
        ("storage.size_max_mib", 1, "storage.size_max_mib: Input should be greater than or equal to 16 (got 1)"),
        ("telemetry.trace_ratio", 2, "telemetry.trace_ratio: Input should be less than or equal to 1 (got 2)"),
        (
            "telemetry.log_level",
            "loud",
            "telemetry.log_level: Input should be 'debug', 'info', 'warning' or 'error' (got 'loud')",
        ),
        (
            "cluster.members.0.api",
            "nowhere",
            "cluster.members.0.api: has no port; it must be " + ADDRESS_FORM + " (got 'nowhere')",
        ),
    ],
)
def test_a_field_of_the_wrong_kind_or_range_is_named_with_what_was_given(path: str, value: object, line: str) -> None:
    assert str(problem_of(with_change(path, value))) == line


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("node.id", "eu-9", "node.id: 'eu-9' is not in cluster.members (eu-1, us-1, ap-1)"),
        (
            "node.region",
            "us",
            "node.region: 'us' contradicts cluster.members, which puts 'eu-1' in 'eu'",
        ),
        ("cluster.members.1.id", "eu-1", "cluster.members.id: 'eu-1' is used by 2 members; each needs its own"),
        (
            "cluster.members.1.peer",
            "127.0.0.1:7101",
            "cluster.members.peer: '127.0.0.1:7101' is used by 2 members; each needs its own",
        ),
        (
            "cluster.members.1.api",
            "127.0.0.1:7001",
            "cluster.members.api: '127.0.0.1:7001' is used by 2 members; each needs its own",
        ),
        (
            "listen.admin",
            "127.0.0.1:7001",
            "listen: api, peer and admin need different addresses, got 127.0.0.1:7001, 127.0.0.1:7101, 127.0.0.1:7001",
        ),
        (
            "raft.heartbeat_s",
            0.2,
            "raft.election_timeout_min_s: must exceed three heartbeats (0.6 s), is 0.3",
        ),
        (
            "raft.election_timeout_min_s",
            0.7,
            "raft.election_timeout_max_s: must exceed raft.election_timeout_min_s (0.7 s), is 0.6",
        ),
        (
            "limits.peer_queue_mib_max",
            8,
            "limits.in_flight_mib_max: must not exceed limits.peer_queue_mib_max (8), is 16",
        ),
        (
            "cluster.secret_file",
            REMOVED,
            "cluster.secret_file: is required without [tls]: any process that reaches the peer port could pose as a "
            "node. Make a secret by `head -c 32 /dev/urandom | base64 > cluster.secret && chmod 600 cluster.secret`, "
            "the same for all nodes",
        ),
        (
            "listen.peer",
            "0.0.0.0:7101",
            "listen.peer: 0.0.0.0:7101 is not loopback, and the peer port is plaintext: "
            "configure [tls], or bind 127.0.0.1",
        ),
        (
            "cluster.members.0.peer",
            "eu-1.example.org:7101",
            "cluster.members.peer: eu-1.example.org:7101 is not loopback, and the peer port is plaintext: "
            "configure [tls], or bind 127.0.0.1",
        ),
    ],
)
def test_fields_that_contradict_each_other_are_refused(path: str, value: object, line: str) -> None:
    assert str(problem_of(with_change(path, value))) == line


@pytest.mark.parametrize("field", ["heartbeat_s", "election_timeout_min_s", "election_timeout_max_s"])
def test_timers_that_are_derived_cannot_be_set_as_well(field: str) -> None:
    """Two masters would be one too many."""
    raw = with_change("raft.profile", "auto")
    raw["raft"][field] = 1.0

    assert str(problem_of(raw)) == f'raft.{field}: raft.profile = "auto" derives it: leave it out, or name a profile'


@pytest.mark.parametrize("address", ["127.0.0.1:7101", "127.9.9.9:7101", "localhost:7101", "[::1]:7101"])
def test_every_form_of_loopback_may_be_plaintext(address: str) -> None:
    assert parse_config(with_change("listen.peer", address), Path("/base")).peer_listen == address


def test_a_certificate_file_that_is_not_there_is_named_with_its_full_path(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("ca")
    raw = with_change("tls", {"ca_file": "ca.pem", "cert_file": "node.pem", "key_file": "node.key"})

    problem = problem_of(raw, tmp_path)

    assert problem.field == "tls.cert_file"
    assert str(problem) == f"tls.cert_file: {tmp_path / 'node.pem'} does not exist"


def test_with_tls_the_peer_port_may_leave_loopback(tmp_path: Path) -> None:
    for name in ("ca.pem", "node.pem", "node.key"):
        (tmp_path / name).write_text(name)
    raw = with_change("tls", {"ca_file": "ca.pem", "cert_file": "node.pem", "key_file": "node.key"})
    raw["listen"]["peer"] = "0.0.0.0:7101"

    config = parse_config(raw, tmp_path)

    assert config.tls is not None
    assert config.tls.key_file == str(tmp_path / "node.key")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "none.toml")

    assert str(caught.value) == f"--config: {tmp_path / 'none.toml'} does not exist; `replicator dev` writes examples"


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path)

    assert str(caught.value) == f"--config: {tmp_path} cannot be read: Is a directory"


@pytest.mark.parametrize("content", [b"[node\nid = 1", b"\xff\xfe\x00"])
def test_a_file_that_is_not_toml_is_named_with_the_place(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "broken.toml"
    file.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        load_config(file)

    assert str(caught.value).startswith(f"--config: {file} is not TOML: ")
    assert "\n" not in str(caught.value)
