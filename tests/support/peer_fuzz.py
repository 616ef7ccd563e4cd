"""What a seed says to a peer port: in order, out of order, bent, or anything that the descriptors of the protos allow.

A real member that lies within the bounds of its messages is not defended against (docs/raft.md, Not covered): it can
depose leaders, have what it likes committed, acknowledge what it does not hold, and make others stop. So
`is_in_a_members_power` names what the roles that hold the group's secret must leave out.
"""

import random
from dataclasses import dataclass
from typing import Any, Final

import zstandard
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from replicator.engine.raft.message_bounds import Malformed
from replicator.engine.raft.messages import checked_entries, decode, encode
from replicator.machine.codec import GROUP_CHANGE_PREFIX, NO_OP_PAYLOAD, REGULAR_PREFIX, decode_batch, encode_entry
from replicator.model.ids import Term
from replicator.model.limits import INDEX_MAX, TERM_MAX
from replicator.v1 import peer_pb2, raft_pb2
from tests.support.bent_bytes import bent
from tests.support.commands import put

FORGED: Final = b"forged/"  # every key that the fuzz names begins so
FORGED_TERM_MIN: Final = 1 << 20  # no honest term of a test comes near
FRAME_BYTES_OVER: Final = (8 << 20) + 4096
BOMB_BYTES: Final = 1 << 30
BOMB: Final = zstandard.ZstdCompressor(level=1).compress(bytes(BOMB_BYTES))
NAMES: Final = ("eu-1", "us-1", "ap-1", "zz-9", "", "No Name", "a\nb\x1b[31m", "unix:/tmp/x", "x" * 3000)
REASONS: Final = ("OLD_INCARNATION", "COPIED_DIRECTORY", "LOST_DATA", "NOT_A_MEMBER", "OTHER_GROUP", "A\nB")
EXTREMES: Final = (
    TERM_MAX - 1, TERM_MAX, TERM_MAX + 1, INDEX_MAX, INDEX_MAX + 1, 1 << 40, 1 << 63, (1 << 64) - 2, (1 << 64) - 1
)  # fmt: skip


@dataclass
class Anything:
    """Draws messages. term, index: about where the group is, so that some of what is drawn comes close to sense."""

    dice: random.Random
    term: int
    index: int

    def raft_frame(self) -> bytes:
        """A frame of the engine: mostly a message, often a bent one, sometimes none at all."""
        match self.dice.randrange(8):
            case 0:
                return self.dice.randbytes(self.dice.randrange(64))
            case 1 | 2:
                return bent(self.dice, encode(self.plausible()))
            case 3 | 4 | 5:
                return encode(self.plausible())
        anything = raft_pb2.RaftMessage(**self._fields(raft_pb2.RaftMessage.DESCRIPTOR))
        return encode(anything) if self.dice.random() < 0.9 else anything.SerializeToString()

    def plausible(self) -> raft_pb2.RaftMessage:
        """What a peer might say that leads, campaigns, follows or asks, with a number or two that it made up."""
        dice, term = self.dice, self._term()
        index = self.index + dice.choice((-2, -1, 0, 1, 2))
        payload = dice.choice((encode_entry(1, [put(FORGED + b"append")]), NO_OP_PAYLOAD, GROUP_CHANGE_PREFIX + b"x"))
        entry = raft_pb2.LogEntry(index=max(1, index) + 1, term=term, payload=payload)
        wrapped: dict[str, Any] = dice.choice(
            (
                {"append_entries": raft_pb2.AppendEntries(
                    term=term, sequence=1, prev_index=max(1, index), prev_term=min(term, self.term),
                    commit_index=self._number(), entries=[entry])},
                {"append_reply": raft_pb2.AppendReply(
                    term=term, answers=self._number(), success=dice.random() < 0.5, rewind=dice.random() < 0.5,
                    next_index=max(1, index), last_index=max(1, index))},
                {"request_vote": raft_pb2.RequestVote(
                    term=term, last_index=self._number(), last_term=self._term(), membership_index=self._number())},
                {"pre_vote": raft_pb2.PreVote(term=term, last_index=self._number(), last_term=self._term())},
                {"vote_reply": raft_pb2.VoteReply(term=term)},
                {"stale_term": raft_pb2.StaleTerm(term=term)},
                {"timeout_now": raft_pb2.TimeoutNow(term=term)},
                {"forward": raft_pb2.Forward(request_id=self._number(), command=put(FORGED + b"forward"))},
                {
                    "forward": raft_pb2.Forward(
                        request_id=self._number(), command=bent(self.dice, put(FORGED + b"bent"))
                    )
                },
                {"read_index": raft_pb2.ReadIndex(request_id=self._number())},
            )
        )  # fmt: skip
        return raft_pb2.RaftMessage(**wrapped)

    def link_message(self) -> bytes:
        """Anything in place of the next message of a handshake, or after it."""
        dice = self.dice
        match dice.randrange(8):
            case 0:
                return dice.randbytes(dice.randrange(200))
            case 1:
                return peer_pb2.LinkMessage(frame=self.raft_frame()).SerializeToString()
            case 2:
                return b""
            case 3:
                refusal = peer_pb2.Refusal(reason=dice.choice(REASONS), message=dice.choice(NAMES), founder=bytes(16))
                return peer_pb2.LinkMessage(refusal=refusal).SerializeToString()
            case 4 if dice.randrange(10) == 0:
                return peer_pb2.LinkMessage(frame=bytes(FRAME_BYTES_OVER)).SerializeToString()
        return peer_pb2.LinkMessage(**self._fields(peer_pb2.LinkMessage.DESCRIPTOR)).SerializeToString()

    def wrapped(self, frame: bytes) -> bytes:
        """The message of a link that carries it: as it is, compressed, or compressed and then bent or wrongly sized."""
        dice, smaller = self.dice, zstandard.ZstdCompressor(level=1).compress(frame)
        match dice.randrange(6):
            case 0:
                compressed = peer_pb2.CompressedFrame(codec=peer_pb2.CODEC_ZSTD, size_bytes=len(frame), data=smaller)
            case 1:
                compressed = peer_pb2.CompressedFrame(
                    codec=peer_pb2.CODEC_ZSTD, size_bytes=len(frame), data=bent(self.dice, smaller)
                )
            case 2:
                size_bytes = dice.choice((BOMB_BYTES, FRAME_BYTES_OVER, len(frame), (1 << 32) - 1))
                compressed = peer_pb2.CompressedFrame(codec=peer_pb2.CODEC_ZSTD, size_bytes=size_bytes, data=BOMB)
            case _:
                return peer_pb2.LinkMessage(frame=frame).SerializeToString()
        return peer_pb2.LinkMessage(compressed=compressed).SerializeToString()

    def _term(self) -> int:
        return max(0, self.term + self.dice.choice((-1, 0, 1))) if self.dice.random() < 0.5 else self._number()

    def _number(self) -> int:
        return self.dice.choice((self.dice.randrange(12), self.index, self.term, self.dice.choice(EXTREMES)))

    def _fields(self, descriptor: Descriptor) -> dict[str, Any]:
        chosen = [field for field in descriptor.fields if field.containing_oneof is None and self.dice.random() < 0.7]
        chosen += [self.dice.choice(group.fields) for group in descriptor.oneofs if self.dice.random() < 0.9]
        return {field.name: self._values(field) for field in chosen}

    def _values(self, field: FieldDescriptor) -> Any:
        if field.is_repeated:
            return [self._value(field) for _ in range(self.dice.randrange(4))]
        return self._value(field)

    def _value(self, field: FieldDescriptor) -> Any:
        dice = self.dice
        if field.message_type is not None:
            return self._fields(field.message_type)
        if field.type == field.TYPE_BOOL:
            return dice.random() < 0.5
        if field.type == field.TYPE_STRING:
            return dice.choice(NAMES)
        if field.type == field.TYPE_BYTES:
            return dice.choice(
                (b"", bytes(16), bytes(32), REGULAR_PREFIX, NO_OP_PAYLOAD, dice.randbytes(40), bytes(1 << 18))
            )
        if field.type == field.TYPE_ENUM:
            return dice.randrange(6)
        return self._number() & (0xFFFFFFFF if field.type == field.TYPE_UINT32 else (1 << 64) - 1)


def is_in_a_members_power(frame: bytes, term: Term) -> bool:
    """Whether a member that says this, of the group in this term, may do harm that nobody promises to prevent."""
    try:
        message = decode(frame)
        if message.WhichOneof("body") == "append_entries":
            checked_entries(message.append_entries)
    except (Malformed, DecodeError):
        return False
    kind = message.WhichOneof("body")
    if kind is None:
        return False
    body: Any = getattr(message, kind)
    named = max(getattr(body, "term", 0), getattr(body, "asked_term", 0))
    if named > TERM_MAX:  # must be refused, whatever `decode` says
        return False
    if named > term + 3:  # moves the group's term, which the test must be able to read as honest
        return True
    match kind:
        case "append_entries":
            return named >= term  # the leader of a term says what is in the log
        case "append_reply":
            return named >= term and bool(body.success)  # it counts for entries that it does not hold
        case "vote_reply":
            return named >= term  # two candidates may have the same vote
        case "request_vote":
            return named > term  # each such campaign costs the group an election
        case "forward":
            return body.WhichOneof("request") == "member_change" or decode_batch(body.command) is not None
        case "snapshot_offer":
            return named >= term  # what it offers may be any store
    return False
