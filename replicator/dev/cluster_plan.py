"""Which nodes a local cluster has, where each listens and keeps its files, and the configuration file of each.

Pure planning plus the writing of the files; starts nothing. A folder that already holds a cluster is taken up again
with its cluster id, so that `replicator dev --data DIR` finds yesterday's data.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Final

from replicator.config.load import load_config
from replicator.config.schema import NodeConfig
from replicator.dev.tcp_ports import LOOPBACK, free_ports, is_free
from replicator.model.errors import ConfigError
from replicator.model.ids import ClusterId, NodeId, Region, is_valid_name
from replicator.storage.data_directory.locking import holder_of

NODES_MAX: Final = 9  # as many voters as a configuration may list
CONFIG_FILE: Final = "node.toml"
LOG_FILE: Final = "node.log"
DATA_FOLDER: Final = "data"
SECRET_FILE: Final = "cluster.secret"  # noqa: S105  # the name of a file
# Files are written anew at each start, because ports that are taken meanwhile are changed in all of them together.
FIRST_LINE: Final = "# Written anew whenever `replicator dev` starts this cluster: your changes here are lost."


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node. folder: holds its configuration, its log and its data."""

    id: NodeId
    region: Region
    api_port: int
    peer_port: int
    admin_port: int
    folder: Path

    @property
    def api(self) -> str:
        return f"{LOOPBACK}:{self.api_port}"

    @property
    def peer(self) -> str:
        return f"{LOOPBACK}:{self.peer_port}"

    @property
    def admin(self) -> str:
        return f"{LOOPBACK}:{self.admin_port}"

    @property
    def config_file(self) -> Path:
        return self.folder / CONFIG_FILE

    @property
    def log_file(self) -> Path:
        return self.folder / LOG_FILE

    @property
    def data_dir(self) -> Path:
        return self.folder / DATA_FOLDER


@dataclass(frozen=True, slots=True)
class SeenAt:
    """Where one node finds another, if not at that node's own address: behind a proxy, for instance."""

    peer: str | None = None
    api: str | None = None


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """A whole cluster. seen_from: (who looks, whom it looks for) -> the address written into the first one's file.

    Either node of a pair may dial: traffic has no way around only if both have been told another address.
    more_toml: further sections for every node's file, as text.
    secret: that tells the nodes of this cluster from other processes; written beside each node's file.
    """

    cluster_id: ClusterId
    profile: str
    nodes: tuple[NodePlan, ...]
    seen_from: Mapping[tuple[NodeId, NodeId], SeenAt] = field(default_factory=dict)
    more_toml: str = ""
    secret: str = field(default_factory=secrets.token_urlsafe, repr=False)

    def with_node(self, region: str) -> tuple["ClusterPlan", NodePlan]:
        """The same with one more node of `region`, on ports of its own; its name is that of no other so far."""
        taken = {node.id for node in self.nodes}
        name = next(name for number in count(1) if (name := NodeId(f"{region}-{number}")) not in taken)
        api_port, peer_port, admin_port = free_ports(3)
        folder = self.nodes[0].folder.parent / name
        added = NodePlan(name, Region(region), api_port, peer_port, admin_port, folder)
        return replace(self, nodes=(*self.nodes, added)), added

    def toml_of(self, viewer: NodePlan) -> str:
        """The configuration file of one node. It lists NODES_MAX nodes at most, of which it is one itself."""
        lines = [
            FIRST_LINE,
            "[node]",
            f"id = {_quoted(viewer.id)}",
            f"region = {_quoted(viewer.region)}",
            f"data_dir = {_quoted(DATA_FOLDER)}",
            "",
            "[listen]",
            f"api = {_quoted(viewer.api)}",
            f"peer = {_quoted(viewer.peer)}",
            f"admin = {_quoted(viewer.admin)}",
            "",
            "[raft]",
            f"profile = {_quoted(self.profile)}",
            "",
            "[cluster]",
            f"id = {_quoted(self.cluster_id)}",
            f"secret_file = {_quoted(SECRET_FILE)}",
        ]
        lines += self._routes_of(viewer)
        others = [node for node in self.nodes if node.id != viewer.id][: NODES_MAX - 1]
        for member in (node for node in self.nodes if node.id == viewer.id or node in others):
            seen = self.seen_from.get((viewer.id, member.id), SeenAt())
            lines += [
                "",
                "[[cluster.members]]",
                f"id = {_quoted(member.id)}",
                f"region = {_quoted(member.region)}",
                f"peer = {_quoted(member.peer)}",
                f"api = {_quoted(seen.api or member.api)}",
            ]
        return "\n".join([*lines, "", self.more_toml]).rstrip("\n") + "\n"

    def _routes_of(self, viewer: NodePlan) -> list[str]:
        """Its own ways, which the group does not know: a membership has one address a node, for all of them."""
        lines = []
        for (who, member), seen in self.seen_from.items():
            if who == viewer.id != member and seen.peer:
                lines += ["", "[[routes]]", f"id = {_quoted(member)}", f"peer = {_quoted(seen.peer)}"]
        return lines

    def check_unused(self) -> None:
        """Raises ConfigError naming every process that runs on the data of a node. Changes nothing."""
        holders = {node.id: holder for node in self.nodes if (holder := holder_of(node.data_dir)) is not None}
        if holders:
            running = ", ".join(f"{node_id} as process {pid}" for node_id, pid in holders.items())
            remedy = f"stop them with: kill {' '.join(pid for pid in holders.values() if pid.isdecimal())}"
            raise ConfigError("--data", f"{self.nodes[0].folder.parent} is in use: {running}; {remedy}")

    def write(self) -> None:
        """Writes every node's file. Raises ConfigError if the folder cannot be written."""
        for node in self.nodes:
            self.write_file_of(node)

    def write_file_of(self, node: NodePlan) -> None:
        """Writes one node's file. Raises ConfigError if its folder cannot be written."""
        try:
            node.folder.mkdir(parents=True, exist_ok=True)
            secret_file = node.folder / SECRET_FILE
            secret_file.touch(mode=0o600)
            secret_file.write_text(f"{self.secret}\n", encoding="utf-8")
            node.config_file.write_text(self.toml_of(node), encoding="utf-8")
        except OSError as error:
            raise ConfigError("--data", f"{node.folder} cannot be written: {error.strerror}") from None


def plan_cluster(
    directory: Path, regions: Sequence[str], *, nodes: int | None = None, profile: str = "lan"
) -> ClusterPlan:
    """A cluster of `nodes` (default: one a region), spread over the regions in turn, ids like `eu-1`.

    Raises ConfigError if the request makes no cluster, or if `directory` holds a different one.
    """
    wanted = len(regions) if nodes is None else nodes
    _check_request(regions, wanted, profile)
    names = [
        (NodeId(f"{regions[i % len(regions)]}-{i // len(regions) + 1}"), regions[i % len(regions)])
        for i in range(wanted)
    ]
    earlier = _configs_in(directory)
    if earlier:
        _check_same_nodes(directory, earlier, dict(names))
    ports = _ports_of(earlier, [name for name, _ in names]) or free_ports(3 * wanted)
    return ClusterPlan(
        cluster_id=ClusterId(earlier[0].cluster.id if earlier else f"dev-{secrets.token_hex(4)}"),
        profile=profile,
        secret=_secret_in(earlier) or secrets.token_urlsafe(),
        nodes=tuple(
            NodePlan(
                id=name,
                region=Region(region),
                api_port=ports[3 * i],
                peer_port=ports[3 * i + 1],
                admin_port=ports[3 * i + 2],
                folder=directory.absolute() / name,
            )
            for i, (name, region) in enumerate(names)
        ),
    )


def _check_request(regions: Sequence[str], count: int, profile: str) -> None:
    if not regions:
        raise ConfigError("--regions", "at least one region is needed, for example eu,us,ap")
    for region in regions:
        if not is_valid_name(region):
            raise ConfigError("--regions", f"{region!r} is not a name: use 1 to 63 of a-z, 0-9 and '-'")
    if len(set(regions)) != len(regions):
        raise ConfigError("--regions", f"{','.join(regions)} names a region twice")
    if not len(regions) <= count <= NODES_MAX:
        raise ConfigError("--nodes", f"must be from {len(regions)} (one a region) to {NODES_MAX}, is {count}")
    if profile not in ("lan", "wan", "auto"):
        raise ConfigError("--profile", f"{profile!r} is none of lan, wan, auto")


def _configs_in(directory: Path) -> list[NodeConfig]:
    """The nodes that a folder already holds, by id."""
    files = sorted(directory.glob(f"*/{CONFIG_FILE}"))
    return sorted((load_config(file) for file in files), key=lambda config: config.node.id)


def _secret_in(earlier: list[NodeConfig]) -> str:
    """What the cluster's nodes share already; nothing if there is no cluster."""
    files = [Path(config.cluster.secret_file) for config in earlier if config.cluster.secret_file is not None]
    return files[0].read_text(encoding="utf-8").strip() if files else ""


def _check_same_nodes(directory: Path, earlier: list[NodeConfig], wanted: Mapping[NodeId, str]) -> None:
    held = {NodeId(config.node.id): config.node.region for config in earlier}
    if held != wanted or len({config.cluster.id for config in earlier}) != 1:
        raise ConfigError(
            "--data",
            f"{directory} holds a cluster of {', '.join(held)}, not of {', '.join(sorted(wanted))}; "
            "name another folder, or delete this one to start afresh",
        )


def _ports_of(earlier: list[NodeConfig], names: Sequence[NodeId]) -> list[int] | None:
    """The ports that the cluster had, in the order of `names`; None if there was none or one of them is taken."""
    listening = {
        config.node.id: [config.api_listen, config.peer_listen, config.listen.admin or "0:0"] for config in earlier
    }
    ports = [int(address.rpartition(":")[2]) for name in names for address in listening.get(name, [])]
    return ports if ports and all(port and is_free(port) for port in ports) else None


def _quoted(text: str) -> str:
    """A TOML basic string. Names and addresses only, for which JSON's escapes are TOML's."""
    return json.dumps(text)
