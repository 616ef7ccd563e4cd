"""Which certificates are those of a node, and that no bytes make the judge stumble."""

import random
from datetime import timedelta

import pytest

from replicator.certificates import facts_of, judge_certificate
from replicator.certificates.explaining import why_tls_failed
from replicator.certificates.facts import all_facts
from replicator.model.ids import node_certificate_name
from tests.support.authority import DAY, Authority

AUTHORITY = Authority()
MARKED = "eu-1.node.orders.replicator"


def test_the_marked_name_holds_node_and_cluster() -> None:
    assert node_certificate_name("eu-1", "orders") == MARKED
    assert len(node_certificate_name("n" * 63, "c" * 63)) <= 253, "DNS names are no longer"


def test_the_certificate_of_the_node_is_taken() -> None:
    assert judge_certificate(AUTHORITY.node("eu-1", "orders").certificate, "eu-1", "orders") is None
    many = AUTHORITY.issue("eu-1", "eu-1.example.net", MARKED, "localhost")
    assert judge_certificate(many.certificate, "eu-1", "orders") is None


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["eu-1"],
        ["us-1.node.orders.replicator"],
        ["eu-1.node.warehouse.replicator"],
        ["*.node.orders.replicator"],
        [f"x.{MARKED}"],
        [f"{MARKED}.example"],
    ],
)
def test_any_other_name_is_refused_with_the_one_to_put_in(names: list[str]) -> None:
    verdict = judge_certificate(AUTHORITY.issue("shop", *names).certificate, "eu-1", "orders")
    assert verdict is not None
    assert f"lacks the DNS name '{MARKED}' (SAN): issue one that has it" in verdict


def test_a_subject_is_no_dns_name() -> None:
    verdict = judge_certificate(AUTHORITY.issue(MARKED).certificate, "eu-1", "orders")
    assert verdict is not None
    assert "lacks the DNS name" in verdict


@pytest.mark.parametrize(
    ("server", "client", "lacks"),
    [
        (True, False, "client use (clientAuth): issue one that has it"),
        (False, True, "the DNS name"),
        (True, True, None),
        (False, False, "the DNS name"),
    ],
)
def test_both_uses_are_needed(server: bool, client: bool, lacks: str | None) -> None:
    issued = AUTHORITY.issue("eu-1", MARKED, for_server=server, for_client=client)
    verdict = judge_certificate(issued.certificate, "eu-1", "orders")
    assert verdict is None if lacks is None else lacks in str(verdict)


def test_bytes_that_are_no_certificate_are_refused_whatever_they_are() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201
    dice = random.Random(seed)
    good = bytearray(AUTHORITY.node("eu-1", "orders").certificate)
    for _ in range(300):
        broken = bytearray(good)
        for _ in range(dice.randrange(1, 6)):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        cut = bytes(broken[: dice.randrange(len(broken) + 1)])
        for pem in (bytes(broken), cut):
            judge_certificate(pem, "eu-1", "orders")
    assert judge_certificate(b"", "eu-1", "orders") == "the certificate cannot be read: issue another one"


def test_a_bundle_whose_last_certificate_is_cut_off_is_none() -> None:
    other = Authority("another").pem
    assert [facts.subject for facts in all_facts(AUTHORITY.pem + other)] == ["CN=authority", "CN=another"]
    for end in (len(other) // 2, len(other) - 2):
        with pytest.raises(ValueError, match="not PEM of a certificate"):
            all_facts(AUTHORITY.pem + other[:end])


def test_validity_is_told_with_its_end() -> None:
    facts = facts_of(AUTHORITY.node("eu-1", begins=-2 * DAY, ends=2 * DAY).certificate)
    assert facts.flaw_at(facts.not_after) is None
    assert "has expired: it was valid until 20" in str(facts.flaw_at(facts.not_after + timedelta(seconds=1)))
    assert "is not yet valid: it begins at 20" in str(facts.flaw_at(facts.not_before - timedelta(seconds=1)))


def test_a_failure_that_is_no_matter_of_certificates_is_not_blamed_on_them() -> None:
    for details in ("connect: Connection refused (111)", "", "Deadline Exceeded"):
        assert why_tls_failed(details, name="x", own_flaw="expired", has_own=True) is None
