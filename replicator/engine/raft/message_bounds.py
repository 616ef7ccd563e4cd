"""What a message of any peer may say: the range of every number, the shape of every name, text and hash.

Checked once, as a message is decoded, so no handler sees a number that could not be kept, or that no group reaches by
honest work. What also depends on this node's state (who leads, what was asked) is checked by guard.py and by the
handlers. A message beyond these bounds raises Malformed, and its link is dropped.
"""

from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import Message

from replicator.machine.digest import ROLLING_HASH_BYTES
from replicator.machine.group_entries import is_sound, is_sound_member
from replicator.model.ids import GROUP_ID, is_valid_name
from replicator.model.limits import CALL_TIMEOUT_S_MAX, INDEX_MAX, REQUEST_BYTES_MAX, TERM_MAX
from replicator.storage.snapshots.files import DIGEST_BYTES
from replicator.v1 import raft_pb2

APPEND_BYTES_MAX: Final = 1 << 20  # of payload in an append of more than one entry
ENTRY_COUNT_MAX: Final = 4096  # in one append
COMMAND_BYTES_MAX: Final = 2 * REQUEST_BYTES_MAX  # any request, however encoded; its entry must fit one frame of a link
PAYLOAD_BYTES_MAX: Final = COMMAND_BYTES_MAX + (1 << 20)  # of one entry
COUNTER_MAX: Final = INDEX_MAX  # of appends and questions: there are no more than that in the life of a process
CLOCK_MS_MAX: Final = (1 << 53) - 1  # 285,000 years after a machine's start; exact as a float
SNAPSHOT_BYTES_MAX: Final = 1 << 48  # beyond what LMDB can map
TEXT_CHARS_MAX: Final = 1024
REASON_CHARS_MAX: Final = 64
TRANSFER_MS_MAX: Final = round(CALL_TIMEOUT_S_MAX * 1000)

GREATEST: Final = {
    "term": TERM_MAX,
    "asked_term": TERM_MAX,
    "prev_term": TERM_MAX,
    "last_term": TERM_MAX,
    "index_term": TERM_MAX,
    "index": INDEX_MAX,
    "applied_index": INDEX_MAX,
    "prev_index": INDEX_MAX,
    "next_index": INDEX_MAX,
    "last_index": INDEX_MAX,
    "commit_index": INDEX_MAX,
    "membership_index": INDEX_MAX,
    "index_min": INDEX_MAX,
    "sequence": COUNTER_MAX,
    "answers": COUNTER_MAX,
    "request_id": COUNTER_MAX,
    "clock_ms": CLOCK_MS_MAX,
    "echo_clock_ms": CLOCK_MS_MAX,
    "quorum_age_ms": CLOCK_MS_MAX,
    "size_bytes": SNAPSHOT_BYTES_MAX,
    "timeout_ms": TRANSFER_MS_MAX,
    "retry_after_ms": TRANSFER_MS_MAX,
}
"""The greatest value of each number, by the name of its field in raft.proto; one name means one thing there."""


class Malformed(Exception):
    """A frame that no correct peer sends."""


class LostData(Exception):
    """A peer no longer holds what it acknowledged to this leader; the text says what."""


def check_bounds(message: raft_pb2.RaftMessage) -> None:
    """Raises Malformed, naming the field."""
    if message.group != GROUP_ID:
        raise Malformed(f"message of group {message.group}, this node belongs to group {GROUP_ID}")
    kind = message.WhichOneof("body")
    if kind is None:
        raise Malformed("empty message")
    body = getattr(message, kind)
    check_numbers(body)
    check = _CHECKS.get(kind)
    if check is not None:
        check(body)


def check_numbers(body: Message) -> None:
    """Each number of a message is within the bound of its name. Raises Malformed."""
    for field, value in body.ListFields():
        greatest = GREATEST.get(field.name)
        if greatest is not None and value > greatest:
            raise Malformed(f"{body.DESCRIPTOR.name} with {field.name}={value}, beyond {greatest}")


def plain_text(text: str) -> str:
    """What is said in words, as a message may carry it: one line, printable, of TEXT_CHARS_MAX characters at most."""
    line = "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))
    return line[:TEXT_CHARS_MAX]


def _check_append(append: raft_pb2.AppendEntries) -> None:
    """The entries themselves are checked where they are taken out, once: messages.checked_entries."""
    entries = append.entries
    if entries and (len(entries) > ENTRY_COUNT_MAX or entries[-1].index > INDEX_MAX):
        raise Malformed(f"append of {len(entries)} entries up to {entries[-1].index}")


def _check_reply(reply: raft_pb2.AppendReply) -> None:
    """Nobody has compared, or applied, more than it holds."""
    if reply.success == reply.rewind or not 1 <= reply.next_index <= reply.last_index + 1:
        raise Malformed(
            f"AppendReply with success={reply.success} rewind={reply.rewind} next_index={reply.next_index} "
            f"last_index={reply.last_index}"
        )
    if len(reply.rolling_hash) not in (0, ROLLING_HASH_BYTES) or reply.applied_index > reply.last_index:
        raise Malformed(
            f"AppendReply with applied_index={reply.applied_index} last_index={reply.last_index} and a hash of "
            f"{len(reply.rolling_hash)} bytes"
        )


def _check_candidate(asked: raft_pb2.RequestVote | raft_pb2.PreVote) -> None:
    """Its log is of terms before the one that it campaigns for, and holds what it has applied."""
    if asked.last_term > asked.term or asked.membership_index > asked.last_index:
        raise Malformed(
            f"{asked.DESCRIPTOR.name} of term {asked.term} with last_term={asked.last_term} "
            f"last_index={asked.last_index} membership_index={asked.membership_index}"
        )


def _check_offer(offer: raft_pb2.SnapshotOffer) -> None:
    hashes = (len(offer.rolling_hash), len(offer.digest))
    if hashes != (ROLLING_HASH_BYTES, DIGEST_BYTES) or offer.size_bytes < 1:
        raise Malformed(f"SnapshotOffer of {offer.size_bytes} bytes with hashes of {hashes} bytes")


def _check_wanted(wanted: raft_pb2.SnapshotWanted) -> None:
    _check_name("SnapshotWanted.receiver", wanted.receiver)


def _check_promised(promised: raft_pb2.SnapshotPromised) -> None:
    _check_name("SnapshotPromised.receiver", promised.receiver)
    _check_text("SnapshotPromised.refused", promised.refused)


def _check_not_taken(message: raft_pb2.SnapshotNotTaken) -> None:
    _check_name("SnapshotNotTaken.source", message.source)


def _check_forward(forward: raft_pb2.Forward) -> None:
    """A question of a kind that only a later release knows is answered with a refusal."""
    match forward.WhichOneof("request"):
        case "command" if len(forward.command) > COMMAND_BYTES_MAX:
            raise Malformed(f"Forward of a command of {len(forward.command)} bytes")
        case "transfer":
            check_numbers(forward.transfer)
            for field, name in (("node_id", forward.transfer.node_id), ("region", forward.transfer.region)):
                if name:
                    _check_name(f"LeadershipTransfer.{field}", name)
        case "member_change":
            _check_change(forward.member_change)


def _check_change(change: raft_pb2.MemberChange) -> None:
    match change.WhichOneof("change"):
        case "set" if is_sound_member(change.set):
            pass
        case "remove":
            _check_name("MemberChange.remove", change.remove)
        case _:
            raise Malformed("a change of the membership that means nothing")


def _check_forward_reply(reply: raft_pb2.ForwardReply) -> None:
    _check_text("ForwardReply.message", reply.message)
    match reply.WhichOneof("result"):
        case "refused":
            _check_reason("ForwardReply.refused", reply.refused)
        case "leader_id":
            _check_name("ForwardReply.leader_id", reply.leader_id)
        case "membership":
            check_numbers(reply.membership)
            if not is_sound(reply.membership):
                raise Malformed("an answer that is no membership")


def _check_read_reply(reply: raft_pb2.ReadIndexReply) -> None:
    """Without an index, zero would be taken for one, and any state for new enough."""
    match reply.WhichOneof("result"):
        case "refused":
            _check_reason("ReadIndexReply.refused", reply.refused)
        case "index" if reply.index >= 1:
            pass
        case _:
            raise Malformed(f"ReadIndexReply with index={reply.index}")


def _check_name(field: str, name: str) -> None:
    if not is_valid_name(name):
        raise Malformed(f"{field} is {name[:REASON_CHARS_MAX]!r}, which is no name")


def _check_reason(field: str, reason: str) -> None:
    if not reason.isascii() or not reason.replace("_", "").isalpha() or len(reason) > REASON_CHARS_MAX:
        raise Malformed(f"{field} is {reason[:REASON_CHARS_MAX]!r}, which is no reason of an error")


def _check_text(field: str, text: str) -> None:
    if len(text) > TEXT_CHARS_MAX or not text.isprintable():
        raise Malformed(f"{field} is {text[:REASON_CHARS_MAX]!r} of {len(text)} characters")


_CHECKS: Final[dict[str, Callable[[Any], None]]] = {
    "append_entries": _check_append,
    "append_reply": _check_reply,
    "request_vote": _check_candidate,
    "pre_vote": _check_candidate,
    "snapshot_offer": _check_offer,
    "snapshot_wanted": _check_wanted,
    "snapshot_promised": _check_promised,
    "snapshot_not_taken": _check_not_taken,
    "forward": _check_forward,
    "forward_reply": _check_forward_reply,
    "read_index_reply": _check_read_reply,
}
