"""Rules between fields: what no single field can get wrong."""

import ipaddress
from collections import Counter

from replicator.config.schema import NodeConfig
from replicator.config.timing import resolve_timing
from replicator.model.errors import ConfigError


def is_loopback(address: str) -> bool:
    """True if HOST:PORT names this machine only."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_relations(config: NodeConfig) -> None:
    """Raises ConfigError naming the field to change."""
    _check_members(config)
    _check_routes(config)
    _check_plaintext(config)
    _check_auto_timing(config)
    resolve_timing(config.raft)
    _check_in_flight(config)


def _check_members(config: NodeConfig) -> None:
    members = config.cluster.members
    for field in ("id", "peer", "api"):
        value, count = Counter(getattr(member, field) for member in members).most_common(1)[0]
        if count > 1:
            raise ConfigError(f"cluster.members.{field}", f"{value!r} is used by {count} members; each needs its own")
    mine = [member for member in members if member.id == config.node.id]
    if not mine:
        raise ConfigError(
            "node.id", f"{config.node.id!r} is not in cluster.members ({', '.join(m.id for m in members)})"
        )
    if mine[0].region != config.node.region:
        raise ConfigError(
            "node.region",
            f"{config.node.region!r} contradicts cluster.members, which puts {config.node.id!r} in {mine[0].region!r}",
        )
    bound = [address for address in (config.api_listen, config.peer_listen, config.listen.admin) if address]
    if len(set(bound)) != len(bound):
        raise ConfigError("listen", f"api, peer and admin need different addresses, got {', '.join(bound)}")


def _check_routes(config: NodeConfig) -> None:
    for node_id, count in Counter(route.id for route in config.routes).items():
        if count > 1:
            raise ConfigError("routes.id", f"{node_id!r} is in {count} rows; each node has one at most")
        if node_id == config.node.id:
            raise ConfigError("routes.id", f"{node_id!r} is this node itself, which it does not dial")


def _check_plaintext(config: NodeConfig) -> None:
    if config.tls is None and config.cluster.secret_file is None:
        raise ConfigError(
            "cluster.secret_file",
            "is required without [tls]: any process that reaches the peer port could pose as a node. Make a secret by "
            "`head -c 32 /dev/urandom | base64 > cluster.secret && chmod 600 cluster.secret`, the same for all nodes",
        )
    if config.tls is None and not is_loopback(config.peer_listen):
        raise ConfigError(
            "listen.peer" if config.listen.peer else "cluster.members.peer",
            f"{config.peer_listen} is not loopback, and the peer port is plaintext: configure [tls], or bind 127.0.0.1",
        )


def _check_auto_timing(config: NodeConfig) -> None:
    raft = config.raft
    if raft.profile == "auto":
        for field in ("heartbeat_s", "election_timeout_min_s", "election_timeout_max_s"):
            if getattr(raft, field) is not None:
                raise ConfigError(f"raft.{field}", 'raft.profile = "auto" derives it: leave it out, or name a profile')


def _check_in_flight(config: NodeConfig) -> None:
    limits = config.limits
    if limits.in_flight_mib_max > limits.peer_queue_mib_max:
        raise ConfigError(
            "limits.in_flight_mib_max",
            f"must not exceed limits.peer_queue_mib_max ({limits.peer_queue_mib_max}), is {limits.in_flight_mib_max}",
        )
