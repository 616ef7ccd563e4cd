"""Is a node accepted as a peer? Pure; both ends of a link decide by their own membership.

The other side has shown already that it is a node of this cluster: by its certificate, or by the cluster's secret. Here
the question is whether it belongs to the group. A claim to know a newer membership would admit any node, so it counts
only with the group's proof.
"""

from enum import StrEnum

from replicator.model.ids import LogIndex, NodeId
from replicator.model.members import Membership


class Admission(StrEnum):
    """Why not. NOT_A_MEMBER: unknown here, and not shown to know a newer membership. OTHER_DIRECTORY: another disk.

    OTHER_GROUP: it belongs to a group that was founded apart from ours, under the same name.
    """

    OTHER_GROUP = "OTHER_GROUP"
    NOT_A_MEMBER = "NOT_A_MEMBER"
    OTHER_DIRECTORY = "OTHER_DIRECTORY"


def refusal_of(
    membership: Membership,
    node_id: NodeId,
    directory_id: bytes,
    membership_index: LogIndex,
    founder: bytes,
    *,
    is_proven: bool,
) -> Admission | None:
    """None if it may be linked.

    directory_id, membership_index, founder: as the other side says. is_proven: it has shown that it holds the secret of
    our group.
    Two groups that were founded apart have nothing in common, whichever log is longer: their nodes are never linked. A
    node that we do not know, and that has applied a newer membership than ours, is linked: we may be the one that lags.
    A member whose data directory is not the one that the group knows under its name has lost its disk, and with it the
    votes that it gave: it must come back under a change of membership.
    """
    if membership.founder and founder and membership.founder != founder:
        return Admission.OTHER_GROUP
    # A node that belongs to no group has no secret to compare with, and nothing that a false claim could spoil.
    knows_newer = membership_index > membership.index and (is_proven or not membership.founder)
    member = membership.get(node_id)
    if member is None:
        return None if knows_newer else Admission.NOT_A_MEMBER
    if member.directory_id and member.directory_id != directory_id:
        return None if knows_newer else Admission.OTHER_DIRECTORY
    return None
