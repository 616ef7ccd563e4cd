"""The engine's messages as protobuf, and the checks that no handler should have to repeat (with message_bounds.py).

SyncObj speaks in dictionaries; peers speak `raft.proto`. Nothing is ever unpickled (fault 6). A message that does not
decode, or that no correct peer could send, raises Malformed; the guard drops the link that brought it.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from google.protobuf.message import DecodeError

from replicator.engine.raft.message_bounds import (
    APPEND_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    Malformed,
    check_bounds,
    plain_text,
)
from replicator.machine.codec import GROUP_CHANGE, NO_OP, REGULAR
from replicator.machine.group_entries import is_sound, is_sound_member, member_of, membership_of, stored_member
from replicator.model.ids import GROUP_ID, LogIndex, NodeId, Term, is_valid_name
from replicator.model.log import Entry, SnapshotManifest
from replicator.model.members import MemberChange, Membership, RemoveMember, SetMember
from replicator.v1 import raft_pb2, store_pb2

_GROUP_SUFFIX: Final = raft_pb2.RaftMessage(group=GROUP_ID).SerializeToString()
_APPEND_TAG: Final = bytes((raft_pb2.RaftMessage.APPEND_ENTRIES_FIELD_NUMBER << 3 | 2,))

Send = Callable[[NodeId, raft_pb2.RaftMessage], None]

SNAPSHOT_ID: Final = re.compile(r"\d{1,20}-[0-9a-f]{16}")  # becomes a file name, so nothing else will do
PAYLOAD_KINDS: Final = frozenset({REGULAR, NO_OP, GROUP_CHANGE})


def encode(message: raft_pb2.RaftMessage) -> bytes:
    """The frame of a message, which is said in this node's group."""
    message.group = GROUP_ID
    return message.SerializeToString()


def decode(frame: bytes) -> raft_pb2.RaftMessage:
    """A message whose numbers, names and lengths are within bounds. Raises Malformed."""
    message = raft_pb2.RaftMessage()
    try:
        message.ParseFromString(frame)
    except DecodeError as error:
        raise Malformed(str(error)) from None
    check_bounds(message)
    return message


def checked_entries(append: raft_pb2.AppendEntries) -> list[Entry]:
    """The entries of an append. Raises Malformed unless contiguous, of rising terms, of known kinds and lengths."""
    index, term = append.prev_index, append.prev_term
    if index < 1 or append.term < term or append.sequence < 1:
        raise Malformed(f"append with prev_index={index} prev_term={term} term={append.term}")
    entries = []
    for entry in append.entries:
        if entry.index != index + 1 or not term <= entry.term <= append.term:
            raise Malformed(f"entry ({entry.index}, {entry.term}) after ({index}, {term}) in term {append.term}")
        payload = entry.payload  # copied out of the message each time
        if not payload or payload[0] not in PAYLOAD_KINDS:
            raise Malformed(f"entry {entry.index} is of unknown kind {payload[:1]!r}")
        index, term = entry.index, entry.term
        entries.append(Entry(payload, LogIndex(index), Term(term)))
    size = sum(len(entry.payload) for entry in entries)
    if size > (APPEND_BYTES_MAX if len(entries) > 1 else PAYLOAD_BYTES_MAX):
        raise Malformed(f"append of {len(entries)} entries with {size} bytes")
    return entries


def serialized_entries(entries: Sequence[Entry]) -> bytes:
    """The entries of an append, for any number of followers: a serialized message whose other fields are not set."""
    return raft_pb2.AppendEntries(
        entries=[
            raft_pb2.LogEntry(index=entry.index, term=entry.term, payload=entry.payload)  # one copy, then the wire's
            for entry in entries
        ],
    ).SerializeToString()


def append_frame(own: raft_pb2.AppendEntries, entries: bytes) -> bytes:
    """The frame that `encode` makes of a message with this append.

    own: all that is the receiver's own, without entries. Two serialized messages in a row are one message with the
    fields of both, so entries are serialized once for all followers.
    """
    head = own.SerializeToString()
    return b"".join((_APPEND_TAG, _varint(len(head) + len(entries)), head, entries, _GROUP_SUFFIX))


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def pre_vote(term: Term, last: Entry, membership_index: LogIndex) -> raft_pb2.RaftMessage:
    """Could I win `term` with a log that ends in `last`, among the voters of that membership?"""
    asked = raft_pb2.PreVote(term=term, last_index=last.index, last_term=last.term, membership_index=membership_index)
    return raft_pb2.RaftMessage(pre_vote=asked)


def pre_vote_reply(asked_term: Term, term: Term, *, granted: bool) -> raft_pb2.RaftMessage:
    """Yes or no, and the term that the answerer is in."""
    reply = raft_pb2.PreVoteReply(asked_term=asked_term, granted=granted, term=term)
    return raft_pb2.RaftMessage(pre_vote_reply=reply)


def member_change(change: MemberChange) -> raft_pb2.MemberChange:
    """A request, as it is forwarded."""
    match change:
        case SetMember(member):
            return raft_pb2.MemberChange(set=stored_member(member))
        case RemoveMember(node_id):
            return raft_pb2.MemberChange(remove=node_id)


def checked_change(request: raft_pb2.MemberChange) -> MemberChange:
    """The request that was forwarded. Raises Malformed."""
    if request.WhichOneof("change") == "set" and is_sound_member(request.set):
        return SetMember(member_of(request.set))
    if request.WhichOneof("change") == "remove" and is_valid_name(request.remove):
        return RemoveMember(NodeId(request.remove))
    raise Malformed("a change of the membership that means nothing")


def checked_membership(stored: store_pb2.Membership) -> Membership:
    """What a leader answered. Raises Malformed."""
    if not is_sound(stored):
        raise Malformed("an answer that is no membership")
    return membership_of(stored)


def snapshot_offer(term: Term, manifest: SnapshotManifest) -> raft_pb2.RaftMessage:
    """What you lack is compacted away: fetch this."""
    offer = raft_pb2.SnapshotOffer(
        term=term,
        snapshot_id=manifest.snapshot_id,
        index=manifest.index,
        index_term=manifest.term,
        rolling_hash=manifest.rolling_hash,
        size_bytes=manifest.size_bytes,
        digest=manifest.digest,
    )
    return raft_pb2.RaftMessage(snapshot_offer=offer)


def offered_manifest(offer: raft_pb2.SnapshotOffer, cluster_id: str) -> SnapshotManifest:
    """The manifest of an offer, for this node's own cluster. Raises Malformed."""
    if offer.index < 1 or offer.index_term > offer.term or SNAPSHOT_ID.fullmatch(offer.snapshot_id) is None:
        raise Malformed(f"snapshot offer {offer.snapshot_id!r} of index {offer.index} in term {offer.term}")
    return SnapshotManifest(
        snapshot_id=offer.snapshot_id,
        cluster_id=cluster_id,
        index=LogIndex(offer.index),
        term=Term(offer.index_term),
        rolling_hash=offer.rolling_hash,
        size_bytes=offer.size_bytes,
        digest=offer.digest,
    )


def snapshot_wanted(term: Term, receiver: NodeId, index_min: LogIndex) -> raft_pb2.RaftMessage:
    """Serve a snapshot to `receiver`, which is near you."""
    wanted = raft_pb2.SnapshotWanted(term=term, receiver=receiver, index_min=index_min)
    return raft_pb2.RaftMessage(snapshot_wanted=wanted)


def snapshot_promised(term: Term, receiver: NodeId, index: LogIndex | None) -> raft_pb2.RaftMessage:
    """I offer it one of `index`; None: I am making it."""
    promised = raft_pb2.SnapshotPromised(term=term, receiver=receiver)
    if index is None:
        promised.making = True
    else:
        promised.index = index
    return raft_pb2.RaftMessage(snapshot_promised=promised)


def snapshot_refused(term: Term, receiver: NodeId, why: str) -> raft_pb2.RaftMessage:
    """Find another source for `receiver`."""
    refused = raft_pb2.SnapshotPromised(term=term, receiver=receiver, refused=plain_text(why) or "no reason was given")
    return raft_pb2.RaftMessage(snapshot_promised=refused)


def snapshot_not_taken(term: Term, source: NodeId) -> raft_pb2.RaftMessage:
    """I could not take what `source` offers."""
    return raft_pb2.RaftMessage(snapshot_not_taken=raft_pb2.SnapshotNotTaken(term=term, source=source))


def stale_term(term: Term) -> raft_pb2.RaftMessage:
    """Your term is over."""
    return raft_pb2.RaftMessage(stale_term=raft_pb2.StaleTerm(term=term))
