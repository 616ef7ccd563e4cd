"""Whether a certificate is that of a certain node. Pure: a certificate in, a sentence out.

An authority usually issues certificates to API clients as well. What tells a node's from theirs is its marked name,
which names the cluster too, and that it is for both uses: a node is a server to some peers and a client to others.
"""

from replicator.certificates.facts import Facts, facts_of, shown
from replicator.model.ids import node_certificate_name


def judge_certificate(pem: bytes, node_id: str, cluster_id: str) -> str | None:
    """None if it is the certificate of that node of that cluster; else what is missing and how to get it. Total."""
    try:
        facts = facts_of(pem)
    except ValueError:
        return "the certificate cannot be read: issue another one"
    return judge_facts(facts, node_id, cluster_id)


def judge_facts(facts: Facts, node_id: str, cluster_id: str) -> str | None:
    """See judge_certificate."""
    wanted = node_certificate_name(node_id, cluster_id)
    lacks = [] if wanted in facts.dns_names else [f"the DNS name {shown(wanted)} (SAN)"]
    if not facts.for_server:
        lacks.append("server use (serverAuth)")
    if not facts.for_client:
        lacks.append("client use (clientAuth)")
    if not lacks:
        return None
    names = ", ".join(shown(name) for name in facts.dns_names[:3]) or "no DNS name"
    all_of_it = ("it", "both", "all three")[len(lacks) - 1]
    return (
        f"the certificate lacks {' and '.join(lacks)}: issue one that has {all_of_it}; "
        f"this one is of {shown(facts.subject)}, for {names}"
    )
