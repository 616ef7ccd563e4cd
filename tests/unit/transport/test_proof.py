"""What is proven in a handshake: by whom, to whom, for which handshake only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.transport.handshake.proof import (
    Role,
    Secrets,
    prove,
    proves_cluster,
    proves_group,
    proves_refusal,
    signed_refusal,
)
from replicator.v1 import peer_pb2

OURS, OTHERS = Secrets(b"of this cluster", b"of this group"), Secrets(b"of another one", b"of another group")
SAID = (b"hello", b"welcome")


def test_a_node_with_the_same_secrets_proves_both() -> None:
    proof = prove(OURS, Role.DIALLER, *SAID)
    assert proves_cluster(OURS, proof, Role.DIALLER, *SAID)
    assert proves_group(OURS, proof, Role.DIALLER, *SAID)


@pytest.mark.parametrize(
    ("role", "said"),
    [
        (Role.ACCEPTOR, SAID),
        (Role.DIALLER, (b"hello", b"another welcome")),
        (Role.DIALLER, (b"another hello", b"welcome")),
        (Role.DIALLER, (b"hellow", b"elcome")),
        (Role.DIALLER, (b"hello",)),
    ],
)
def test_a_proof_fits_one_role_in_one_handshake(role: Role, said: tuple[bytes, ...]) -> None:
    """So what a node hears is of no use to it elsewhere, nor as an answer to its own words."""
    proof = prove(OURS, Role.DIALLER, *SAID)
    assert not proves_cluster(OURS, proof, role, *said)
    assert not proves_group(OURS, proof, role, *said)


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_nothing_that_is_made_up_is_a_proof(by_cluster: bytes, by_group: bytes) -> None:
    proof = peer_pb2.Proof(by_cluster=by_cluster, by_group=by_group)
    assert not proves_cluster(OURS, proof, Role.DIALLER, *SAID)
    assert not proves_group(OURS, proof, Role.DIALLER, *SAID)


def test_the_secrets_of_others_prove_nothing() -> None:
    proof = prove(OTHERS, Role.DIALLER, *SAID)
    assert not proves_cluster(OURS, proof, Role.DIALLER, *SAID)
    assert not proves_group(OURS, proof, Role.DIALLER, *SAID)


def test_a_node_that_knows_no_group_proves_none_and_believes_none() -> None:
    alone = Secrets(OURS.by_cluster, b"")
    assert not proves_group(OURS, prove(alone, Role.DIALLER, *SAID), Role.DIALLER, *SAID)
    for secrets in (OURS, alone):
        assert not proves_group(alone, prove(secrets, Role.DIALLER, *SAID), Role.DIALLER, *SAID)


def test_with_certificates_alone_there_is_no_secret_of_the_cluster_to_prove() -> None:
    certified = Secrets(b"", OURS.by_group)
    assert proves_cluster(certified, peer_pb2.Proof(), Role.DIALLER, *SAID)
    assert not proves_group(certified, peer_pb2.Proof(), Role.DIALLER, *SAID)


@pytest.mark.parametrize("changed", [{"reason": "OTHER"}, {"message": "other"}, {"founder": b"other"}, {}])
def test_a_refusal_is_signed_with_all_that_it_says(changed: dict[str, object]) -> None:
    refusal = signed_refusal(OURS, peer_pb2.Refusal(reason="A", message="b", founder=b"c"), *SAID)
    received = peer_pb2.Refusal(
        **({"reason": "A", "message": "b", "founder": b"c", "proof_by_cluster": refusal.proof_by_cluster} | changed)  # type: ignore[arg-type]
    )
    assert proves_refusal(OURS, received, *SAID) is not bool(changed)
    assert not proves_refusal(OURS, received, b"hello"), "of another handshake"


def test_secrets_are_not_shown() -> None:
    assert "of this" not in repr(OURS)
