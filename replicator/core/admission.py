"""May a node that says who it is be linked? Pure; both ends of a link ask the same question of their own membership."""

from enum import StrEnum

from replicator.model.ids import LogIndex, NodeId
from replicator.model.members import Membership


class Admission(StrEnum):
    """Why not. NOT_A_MEMBER: unknown here, and it knows no newer membership. OTHER_DIRECTORY: its disk is another.

    OTHER_GROUP: it belongs to a group that was founded apart from ours, under the same name.
    """

    OTHER_GROUP = "OTHER_GROUP"
    NOT_A_MEMBER = "NOT_A_MEMBER"
    OTHER_DIRECTORY = "OTHER_DIRECTORY"


def refusal_of(
    membership: Membership, node_id: NodeId, directory_id: bytes, membership_index: LogIndex, founder: bytes
) -> Admission | None:
    """None if it may be linked.

    directory_id, membership_index, founder: as the other side says. Two groups that were founded apart have nothing in
    common, whichever log is longer: their nodes must never meet. A stranger that has applied a newer membership than
    ours is let in: we may be the one that lags. A member whose data directory is not the one that the group knows under
    its name has lost its disk, and with it the votes that it gave: it must come back under a change of membership.
    """
    if membership.founder and founder and membership.founder != founder:
        return Admission.OTHER_GROUP
    member = membership.get(node_id)
    if member is None:
        return None if membership_index > membership.index else Admission.NOT_A_MEMBER
    if member.directory_id and member.directory_id != directory_id:
        return Admission.OTHER_DIRECTORY if membership_index <= membership.index else None
    return None
