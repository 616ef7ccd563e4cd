"""Names and positions. Types, not bare strings and ints, so that a position is never taken for an amount."""

import re
from typing import Final, NewType

NodeId = NewType("NodeId", str)
Region = NewType("Region", str)
ClusterId = NewType("ClusterId", str)
LogIndex = NewType("LogIndex", int)  # a position in the Raft log, 1-based; 0 is "before the first entry"
Term = NewType("Term", int)
Revision = NewType("Revision", int)  # the store's version counter; 0 is "never written"
EntryCount = NewType("EntryCount", int)  # an amount of log entries, never a position

GROUP_ID: Final = 1  # of the one Raft group that a node belongs to
GROUP_LABEL: Final = str(GROUP_ID)  # in metrics

# Node and cluster ids are parts of TLS names and of file names, hence the shape of a DNS label.
NAME_PATTERN: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def is_valid_name(name: str) -> bool:
    """True for 1 to 63 of a-z, 0-9 and '-', not beginning or ending with '-' (RFC 1123 label)."""
    return NAME_PATTERN.fullmatch(name) is not None


def node_certificate_name(node_id: str, cluster_id: str) -> str:
    """The DNS name that marks a certificate as that of a node: only nodes have one, and no other cluster shares it."""
    return f"{node_id}.node.{cluster_id}.replicator"
