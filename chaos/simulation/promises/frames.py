"""What kind of message a frame carries, without decoding it: most frames are appends, which few promises look into."""

from typing import Final

from replicator.engine.raft.messages import decode
from replicator.v1 import raft_pb2

# A message is one field, and the first byte says which. A frame that begins otherwise is decoded, so that a change of
# the envelope makes this slow, not blind.
_KINDS: Final = {
    field.number << 3 | 2: name for name, field in raft_pb2.RaftMessage.DESCRIPTOR.fields_by_name.items()
    if field.containing_oneof is not None and field.number < 16
}  # fmt: skip


def kind_of(payload: bytes) -> str:
    """Name of the field of RaftMessage that the frame holds. Raises Malformed."""
    return _KINDS.get(payload[0]) or str(decode(payload).WhichOneof("body"))
