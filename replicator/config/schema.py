"""What a node can be told. Frozen; every field has a unit in its name or docstring; unknown keys are refused.

Knows: single fields and their ranges. Rules between fields are in `relations`, files and messages in `load`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from replicator.model.addresses import address_flaw
from replicator.model.ids import is_valid_name


def _name(value: object) -> object:
    if isinstance(value, str) and not is_valid_name(value):
        raise ValueError("must be 1 to 63 of a-z, 0-9 and '-', not beginning or ending with '-'")
    return value


def _address(value: object) -> object:
    flaw = address_flaw(value) if isinstance(value, str) else None
    if flaw is not None:
        raise ValueError(flaw)
    return value


Name = Annotated[str, BeforeValidator(_name)]
Address = Annotated[str, BeforeValidator(_address)]


class Section(BaseModel):
    """Base of all sections: frozen, no unknown keys, no silent conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NodeSection(Section):
    """The node itself. data_dir: where its one LMDB environment lives; relative paths are relative to the file."""

    id: Name
    region: Name
    data_dir: str = Field(min_length=1)


class MemberSection(Section):
    """One voter as the others reach it; these are advertised addresses, `listen` has the bound ones."""

    id: Name
    region: Name
    peer: Address
    api: Address


class ClusterSection(Section):
    """The Raft group. The same on every node.

    secret_file: holds a secret that all nodes share and that nobody else knows; required without [tls].
    """

    id: Name
    secret_file: str | None = Field(default=None, min_length=1)
    members: tuple[MemberSection, ...] = Field(min_length=1, max_length=9, strict=False)


class RouteSection(Section):
    """Where this node dials another one, if not where the group says that it is."""

    id: Name
    peer: Address


class ListenSection(Section):
    """Where this node binds. Default: what `cluster.members` advertises for it."""

    api: Address | None = None
    peer: Address | None = None
    admin: Address | None = None


class RaftSection(Section):
    """Timers of the group, seconds. A profile sets all three; a field set here wins over the profile.

    lan: heartbeat 0.05, election 0.3 to 0.6. wan: heartbeat 0.15, election 1.5 to 3. auto: derived from measured round
    trips and agreed through the log, so no field may be set beside it; begins as wan.
    leader_preference: regions, the most preferred first; empty: no region is preferred.
    """

    profile: Literal["lan", "wan", "auto"] = "lan"
    heartbeat_s: float | None = Field(default=None, gt=0, le=10)
    election_timeout_min_s: float | None = Field(default=None, gt=0, le=60)
    election_timeout_max_s: float | None = Field(default=None, gt=0, le=120)
    leader_preference: tuple[Name, ...] = Field(default=(), min_length=0, max_length=64, strict=False)


class TlsSection(Section):
    """Mutual TLS for the API and peer ports. PEM files, followed while the node runs.

    cert_file: of this node, with its marked DNS name (`model.ids.node_certificate_name`), for server and client use.
    ca_file, peer_ca_file: one certificate or several; the latter for the peer port, if it trusts others than the API.
    admin: TLS on the admin port, too, which asks nobody for a certificate.
    """

    ca_file: str
    cert_file: str
    key_file: str
    peer_ca_file: str | None = Field(default=None, min_length=1)
    require_client_certificate: bool = True
    admin: bool = False


class StorageSection(Section):
    """size_max_mib: the store refuses writes beyond this size; the data file grows towards it.

    log_entries_max, log_mib_max: the log is compacted beyond either; a node that lacks more gets a snapshot.
    """

    size_max_mib: int = Field(default=64 * 1024, ge=16, le=16 * 1024 * 1024)
    log_entries_max: int = Field(default=100_000, ge=64, le=100_000_000)
    log_mib_max: int = Field(default=512, ge=16, le=1024 * 1024)


class LimitsSection(Section):
    """Bounds of one node's queues. A caller beyond them gets OVERLOADED.

    unread_mib_max: memory for answers that clients have not taken.
    connections_max, connections_per_address_max: to the API; beyond them, the most idle connection is closed.
    watches_max, watches_per_address_max: open at a time.
    new_clients_per_address_per_s_max: client ids that were not used before; times the nodes, it bounds what part of the
    group's memory for clients one caller can take.
    in_flight_mib_max: entries under way to one peer; must not exceed peer_queue_mib_max, where they wait to be sent.
    """

    calls_in_flight_max: int = Field(default=4096, ge=1, le=100_000)
    unread_mib_max: int = Field(default=256, ge=32, le=65_536)
    connections_max: int = Field(default=2048, ge=16, le=1_000_000)
    connections_per_address_max: int = Field(default=512, ge=8, le=1_000_000)
    watches_max: int = Field(default=20_000, ge=1, le=1_000_000)
    watches_per_address_max: int = Field(default=10_000, ge=1, le=1_000_000)
    new_clients_per_address_per_s_max: int = Field(default=500, ge=1, le=1_000_000)
    proposals_queued_max: int = Field(default=8192, ge=1, le=1_000_000)
    proposals_queued_mib_max: int = Field(default=64, ge=2, le=4096)
    peer_queue_mib_max: int = Field(default=32, ge=8, le=1024)
    in_flight_mib_max: int = Field(default=16, ge=1, le=1024)


class LinksSection(Section):
    """Streams between nodes. compression: of frames and snapshots.

    auto: to other regions, if the peer port is not bound to loopback; on: to all nodes; off: neither sent nor taken.
    """

    compression: Literal["auto", "on", "off"] = "auto"


class TelemetrySection(Section):
    """otlp_endpoint: HOST:PORT of an OTLP gRPC collector; without one, metrics are served on the admin port only."""

    otlp_endpoint: Address | None = None
    trace_ratio: float = Field(default=0.01, ge=0, le=1)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"


class NodeConfig(Section):
    """The whole file."""

    node: NodeSection
    cluster: ClusterSection
    listen: ListenSection = ListenSection()
    routes: tuple[RouteSection, ...] = Field(default=(), min_length=0, max_length=64, strict=False)
    raft: RaftSection = RaftSection()
    tls: TlsSection | None = None
    storage: StorageSection = StorageSection()
    limits: LimitsSection = LimitsSection()
    links: LinksSection = LinksSection()
    telemetry: TelemetrySection = TelemetrySection()

    @property
    def me(self) -> MemberSection:
        """The node's own row in `cluster.members`. Present once `relations` has passed."""
        return next(member for member in self.cluster.members if member.id == self.node.id)

    @property
    def api_listen(self) -> str:
        """Where the API binds."""
        return self.listen.api or self.me.api

    @property
    def peer_listen(self) -> str:
        """Where the peer port binds."""
        return self.listen.peer or self.me.peer
