"""What two nodes prove to each other in a handshake, and how it is checked. Pure.

A proof is an HMAC-SHA256 over all that both sides have said so far. Each Hello carries a fresh nonce, so a proof fits
one handshake only; each role has a label of its own, so neither side can be answered with its own words.
"""

import hmac
from dataclasses import dataclass
from enum import Enum
from typing import Final

from replicator.v1 import peer_pb2

NONCE_BYTES: Final = 16
_MAC_BYTES: Final = 32


class Role(Enum):
    """Who proves. The values are part of what is signed."""

    DIALLER = b"replicator peer 2 dialler"
    ACCEPTOR = b"replicator peer 2 acceptor"
    REFUSING = b"replicator peer 2 refusal"


@dataclass(frozen=True, slots=True)
class Secrets:
    """Keys of one node. by_cluster: of the configuration, empty with TLS alone. by_group: empty before one is known."""

    by_cluster: bytes
    by_group: bytes

    def __repr__(self) -> str:
        return "Secrets(...)"


def prove(secrets: Secrets, role: Role, *said: bytes) -> peer_pb2.Proof:
    """said: the handshake so far, one item a message."""
    return peer_pb2.Proof(by_cluster=_mac(secrets.by_cluster, role, said), by_group=_mac(secrets.by_group, role, said))


def proves_cluster(secrets: Secrets, proof: peer_pb2.Proof, role: Role, *said: bytes) -> bool:
    """True if the other side holds the secret of the configuration, or if there is none: then certificates count."""
    return not secrets.by_cluster or _is_mac(secrets.by_cluster, proof.by_cluster, role, said)


def proves_group(secrets: Secrets, proof: peer_pb2.Proof, role: Role, *said: bytes) -> bool:
    """True if the other side holds the secret of our group; False if we know none."""
    return bool(secrets.by_group) and _is_mac(secrets.by_group, proof.by_group, role, said)


def signed_refusal(secrets: Secrets, refusal: peer_pb2.Refusal, *said: bytes) -> peer_pb2.Refusal:
    """The same, so that the other side may act on it."""
    signed = peer_pb2.Refusal()
    signed.CopyFrom(refusal)
    by = prove(secrets, Role.REFUSING, *said, _refusal_bytes(signed))
    signed.proof_by_cluster, signed.proof_by_group = by.by_cluster, by.by_group
    return signed


def proves_refusal(secrets: Secrets, refusal: peer_pb2.Refusal, *said: bytes) -> bool:
    """True if a node of this cluster refuses; with TLS alone its certificate has said so."""
    return proves_cluster(secrets, _proof_of(refusal), Role.REFUSING, *said, _refusal_bytes(refusal))


def proves_refusal_by_group(secrets: Secrets, refusal: peer_pb2.Refusal, *said: bytes) -> bool:
    """True if a node of our group refuses; while we belong to none, a node of the cluster is enough."""
    if not secrets.by_group:
        return proves_refusal(secrets, refusal, *said)
    return proves_group(secrets, _proof_of(refusal), Role.REFUSING, *said, _refusal_bytes(refusal))


def _proof_of(refusal: peer_pb2.Refusal) -> peer_pb2.Proof:
    return peer_pb2.Proof(by_cluster=refusal.proof_by_cluster, by_group=refusal.proof_by_group)


def _refusal_bytes(refusal: peer_pb2.Refusal) -> bytes:
    """Its fields, each with its length: protobuf promises no fixed bytes."""
    return _joined((refusal.reason.encode(), refusal.message.encode(), refusal.founder))


def _mac(key: bytes, role: Role, said: tuple[bytes, ...]) -> bytes:
    return hmac.digest(key, _joined((role.value, *said)), "sha256") if key else b""


def _is_mac(key: bytes, mac: bytes, role: Role, said: tuple[bytes, ...]) -> bool:
    return len(mac) == _MAC_BYTES and hmac.compare_digest(mac, _mac(key, role, said))


def _joined(parts: tuple[bytes, ...]) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
