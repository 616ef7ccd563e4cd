"""Is a node that comes the newest run of its data directory that was met? Pure.

A copy of a directory, or an older one that was put back, has forgotten votes and acknowledgements. Its runs are counted
in the directory itself, so one that has been counted no further than another run that was met gives itself away.
"""

from enum import Enum

from replicator.model.incarnation import Incarnation, KnownIncarnation


class Standing(Enum):
    """NEWER: to be remembered before it is linked. SAME: the run that was met last. OLDER, COPY: not to be linked."""

    NEWER = "newer"
    SAME = "same"
    OLDER = "older"
    COPY = "copy"


def standing_of(known: KnownIncarnation | None, directory_id: bytes, said: Incarnation) -> Standing:
    """known: what is remembered under this node's name. Another directory of that name has a count of its own.

    Whether another directory may act under the name is for the membership to say, see admission.py.
    """
    if known is None or known.directory_id != directory_id or said.number > known.incarnation.number:
        return Standing.NEWER
    if said == known.incarnation:
        return Standing.SAME
    return Standing.COPY if said.number == known.incarnation.number else Standing.OLDER
