"""Certificates: read from files, judged, kept in force, renewed while the process runs.

Exists because nodes, their three ports and the SDK need the same: files that may be replaced, or half written, at any
moment, and one account of what a certificate says. The only room with `cryptography`.
Knows: PEM, names, uses, validity. Must not know: who is a member, what is sent, configuration.
"""

from replicator.certificates.facts import Facts, facts_of
from replicator.certificates.identity import Identity, TlsFiles
from replicator.certificates.judging import judge_certificate
from replicator.certificates.node import NodeCertificates

__all__ = ["Facts", "Identity", "NodeCertificates", "TlsFiles", "facts_of", "judge_certificate"]
