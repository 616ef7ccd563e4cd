"""Every room is told what the configuration says, and nothing else."""

from pathlib import Path

from replicator.config.load import parse_config
from replicator.config.schema import NodeConfig
from replicator.config.timing import RaftTiming
from replicator.node import settings
from tests.unit.config.test_load import with_change


def a_config(path: str = "raft.profile", value: object = "wan") -> NodeConfig:
    return parse_config(with_change(path, value), Path("/base"))


def test_the_engine_knows_the_others_its_timers_and_its_bounds() -> None:
    engine = settings.engine_settings(a_config())

    assert (engine.cluster_id, engine.node_id, engine.peers) == ("orders", "eu-1", ("us-1", "ap-1"))
    assert engine.timing == RaftTiming(0.15, 1.5, 3.0)
    assert engine.proposals_queued_max == 8192
    assert engine.proposals_queued_bytes_max == 64 << 20


def test_the_engine_knows_every_region_and_which_of_them_shall_lead() -> None:
    """A region without a member is told of, and no reason to refuse to start: it may be still to come."""
    config = a_config("raft.leader_preference", ["mars", "us"])
    engine = settings.engine_settings(config)

    assert engine.regions == {"eu-1": "eu", "us-1": "us", "ap-1": "ap"}
    assert engine.leader_preference == ("mars", "us")
    assert [engine.preference_rank(node) for node in sorted(engine.voters)] == [2, 2, 1]
    assert settings.unknown_preferences(config) == ["mars"]
    assert settings.engine_settings(a_config()).leader_preference == ()


def test_the_transport_binds_what_listen_says_and_dials_what_members_say() -> None:
    transport = settings.transport_settings(a_config("listen.peer", "127.0.0.1:9101"))

    assert transport.listen == "127.0.0.1:9101"
    assert [(peer.node_id, peer.region, peer.address) for peer in transport.peers] == [
        ("us-1", "us", "127.0.0.1:7102"),
        ("ap-1", "ap", "127.0.0.1:7103"),
    ]
    assert transport.queue_bytes_max == 32 << 20
    assert transport.tls is None


def test_identity_lists_all_members_with_both_addresses() -> None:
    identity = settings.identity(a_config())

    assert (identity.cluster_id, identity.node_id, identity.region) == ("orders", "eu-1", "eu")
    assert [member.api_address for member in identity.members] == ["127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7003"]
    assert identity.version == settings.release()


def test_sizes_become_bytes() -> None:
    assert settings.storage_bytes_max(a_config("storage.size_max_mib", 16)) == 16 << 20


def test_telemetry_is_told_whose_it_is_and_where_to_push() -> None:
    told = settings.telemetry_settings(a_config("telemetry.otlp_endpoint", "127.0.0.1:4317"))

    assert (told.node_id, told.region, told.otlp_endpoint, told.trace_ratio) == ("eu-1", "eu", "127.0.0.1:4317", 0.01)
