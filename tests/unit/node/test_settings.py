"""Every room is told what the configuration says, and nothing else."""

from pathlib import Path

from replicator.config.load import parse_config
from replicator.config.schema import NodeConfig
from replicator.config.timing import RaftTiming
from replicator.model.incarnation import Incarnation
from replicator.model.members import MemberRole
from replicator.node import settings
from tests.unit.config.test_load import with_change

RUN = Incarnation(3, b"the third run...")


def a_config(path: str = "raft.profile", value: object = "wan") -> NodeConfig:
    return parse_config(with_change(path, value), Path("/base"))


def test_the_engine_knows_the_others_its_timers_and_its_bounds() -> None:
    engine = settings.engine_settings(a_config(), b"d" * 16, joining=False)

    assert (engine.cluster_id, engine.node_id) == ("orders", "eu-1")
    assert engine.membership.index == 0
    assert [(member.node_id, member.region, member.role) for member in engine.membership.members] == [
        ("ap-1", "ap", MemberRole.VOTER), ("eu-1", "eu", MemberRole.VOTER), ("us-1", "us", MemberRole.VOTER)
    ]  # fmt: skip
    assert engine.timing == RaftTiming(0.15, 1.5, 3.0)
    assert not engine.auto_timing
    assert engine.in_flight_bytes_max == 16 << 20
    assert engine.proposals_queued_max == 8192
    assert engine.proposals_queued_bytes_max == 64 << 20


def test_with_the_profile_auto_the_engine_begins_slowly_and_derives_its_timers() -> None:
    engine = settings.engine_settings(a_config(value="auto"), b"d" * 16, joining=False)

    assert (engine.auto_timing, engine.timing) == (True, RaftTiming(0.15, 1.5, 3.0))


def test_the_engine_knows_which_regions_shall_lead() -> None:
    """A region without a member is told of, and no reason to refuse to start: it may be still to come."""
    config = a_config("raft.leader_preference", ["mars", "us"])
    engine = settings.engine_settings(config, b"d" * 16, joining=False)

    assert engine.leader_preference == ("mars", "us")
    assert settings.unknown_preferences(config) == ["mars"]
    assert settings.engine_settings(a_config(), b"d" * 16, joining=False).leader_preference == ()


def a_config_with_a_secret(folder: Path, path: str = "raft.profile", value: object = "wan") -> NodeConfig:
    (folder / "cluster.secret").write_text("what all nodes of the cluster have")
    (folder / "cluster.secret").chmod(0o600)
    return parse_config(with_change(path, value), folder)


def test_the_transport_binds_what_listen_says_and_knows_its_directory(tmp_path: Path) -> None:
    config = a_config_with_a_secret(tmp_path, "listen.peer", "127.0.0.1:9101")
    transport = settings.transport_settings(config, b"0123456789abcdef", RUN, None, joining=False)

    assert transport.listen == "127.0.0.1:9101"
    assert transport.directory_id == b"0123456789abcdef"
    assert transport.contacts == ()
    assert transport.listed == {"us-1": "127.0.0.1:7102", "ap-1": "127.0.0.1:7103"}
    assert transport.queue_bytes_max == 32 << 20
    assert transport.tls is None
    assert transport.incarnation is RUN
    assert transport.cluster_secret
    assert str(transport.cluster_secret) not in repr(transport)


def test_identity_is_that_of_the_file_and_the_installed_release() -> None:
    identity = settings.identity(a_config())

    assert (identity.cluster_id, identity.node_id, identity.region) == ("orders", "eu-1", "eu")
    assert identity.version == settings.release()


def test_sizes_become_bytes() -> None:
    assert settings.storage_bytes_max(a_config("storage.size_max_mib", 16)) == 16 << 20


def test_telemetry_is_told_whose_it_is_and_where_to_push() -> None:
    told = settings.telemetry_settings(a_config("telemetry.otlp_endpoint", "127.0.0.1:4317"))

    assert (told.node_id, told.region, told.otlp_endpoint, told.trace_ratio) == ("eu-1", "eu", "127.0.0.1:4317", 0.01)


def test_a_node_that_joins_knows_its_group_by_contacts_only(tmp_path: Path) -> None:
    """It must not take itself for a voter because its file lists it."""
    engine = settings.engine_settings(a_config(), b"d" * 16, joining=True)
    transport = settings.transport_settings(a_config_with_a_secret(tmp_path), b"d" * 16, RUN, None, joining=True)

    assert engine.joining
    assert engine.membership.members == ()
    assert [(contact.node_id, contact.address) for contact in transport.contacts] == [
        ("us-1", "127.0.0.1:7102"), ("ap-1", "127.0.0.1:7103")
    ]  # fmt: skip
