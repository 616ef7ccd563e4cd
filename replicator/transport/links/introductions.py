"""The handshake on one stream, from either side: Hello, Welcome, Proof (see peer.proto), or a Refusal in place of one.

Nothing that a peer says takes effect before it is proven: by its certificate, by the secret of the cluster, and, for a
claim to know a newer membership than ours, by the group's own secret.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Final, NoReturn, TypeAlias

from google.protobuf.message import DecodeError

from replicator.core.incarnations import Standing, standing_of
from replicator.model.ids import NodeId
from replicator.model.incarnation import Incarnation, KnownIncarnation
from replicator.transport.handshake.known_peers import Introduction
from replicator.transport.handshake.proof import (
    NONCE_BYTES,
    Role,
    prove,
    proves_cluster,
    proves_group,
    proves_refusal,
    proves_refusal_by_group,
    signed_refusal,
)
from replicator.transport.handshake.verdicts import (
    Refused,
    copied_directory,
    hello_to,
    judge_acceptor,
    judge_admission,
    judge_caller,
    judge_claim,
    lost_data,
    not_of_group,
    not_proven,
    older_run,
    region_contradiction,
)
from replicator.transport.links.roster import Objection, Roster
from replicator.transport.ports import IncarnationMemory, IncarnationNotKept
from replicator.transport.streams import ByteStream, LinkLost, parse
from replicator.v1 import peer_pb2

HANDSHAKE_BYTES_MAX: Final = 16 << 10  # of each message: its sender has proven nothing

JudgeCertificate: TypeAlias = Callable[[peer_pb2.Hello], Refused | None]


class HandshakeRefused(Exception):
    """One side refused the other. peer: as it calls itself."""

    def __init__(self, peer: NodeId, refused: Refused, *, is_by_peer: bool) -> None:
        super().__init__(f"{refused.reason}: {refused.message}")
        self.peer = peer
        self.refused = refused
        self.is_by_peer = is_by_peer


class Objected(Exception):
    """Nothing is wrong with the peer, but there is no place for its stream now."""

    def __init__(self, peer: NodeId, objection: Objection) -> None:
        super().__init__(objection.value)
        self.peer = peer
        self.objection = objection


class Introductions:
    """All handshakes of one node. A method is one handshake; it raises HandshakeRefused, Objected or LinkLost."""

    def __init__(self, roster: Roster, memory: IncarnationMemory) -> None:
        self._roster = roster
        self._memory = memory
        self._noting = asyncio.Lock()
        self._condemned: dict[NodeId, tuple[Incarnation, str]] = {}

    def condemn(self, said: Introduction, why: str) -> None:
        """Refuses that run of a member's data directory from now on."""
        self._condemned[said.peer] = said.incarnation, why

    async def dial(self, stream: ByteStream, dialled: NodeId, *, for_link: bool = True) -> Introduction:
        """As the side that dials. for_link: else the stream is for a snapshot."""
        first = peer_pb2.LinkMessage(
            hello=hello_to(self._roster.known_peers, dialled, os.urandom(NONCE_BYTES))
        ).SerializeToString()
        await stream.write(first)
        answer = await _next(stream, "an answer to Hello")
        self._raise_refusal(dialled, answer, first)
        if answer.WhichOneof("body") != "welcome":
            raise LinkLost(f"unexpected {answer.WhichOneof('body')} in place of an answer to Hello")
        welcome = answer.welcome
        hello = _hello_of(welcome.hello)
        said = (first, welcome.hello)
        judged = judge_acceptor(self._roster.known_peers, hello, dialled) or await self._judge(
            hello, welcome.proof, Role.ACCEPTOR, said, for_link=for_link
        )
        if isinstance(judged, Refused):
            await self._refuse(stream, dialled, judged, said)
        proof = prove(self._roster.known_peers.secrets, Role.DIALLER, *said)
        await stream.write(peer_pb2.LinkMessage(proof=proof).SerializeToString())
        return judged

    async def accept(
        self, stream: ByteStream, judge_certificate: JudgeCertificate, *, for_link: bool = True
    ) -> Introduction:
        """As the side that was dialled."""
        first = await _read(stream, "a Hello")
        message = parse(first)
        if message.WhichOneof("body") != "hello":
            raise LinkLost(f"the first message must be Hello, got {message.WhichOneof('body')}")
        hello = message.hello
        known_peers = self._roster.known_peers
        claimed = Introduction.of(hello, is_proven=True)
        verdict = judge_caller(known_peers, hello) or judge_certificate(hello) or judge_claim(known_peers, hello)
        verdict = verdict or self._judge_run(claimed, is_proven=False)
        if verdict is not None:
            await self._refuse(stream, claimed.peer, verdict, (first,))
        objection = self._roster.objection_to(claimed, dialled=False) if for_link else None
        if objection is not None and objection is not Objection.FORMER:  # a copy is told from it once it is proven
            raise Objected(claimed.peer, objection)
        own_hello = hello_to(known_peers, NodeId(hello.node_id), os.urandom(NONCE_BYTES)).SerializeToString()
        said = (first, own_hello)
        welcome = peer_pb2.Welcome(hello=own_hello, proof=prove(known_peers.secrets, Role.ACCEPTOR, *said))
        await stream.write(peer_pb2.LinkMessage(welcome=welcome).SerializeToString())
        third = await _next(stream, "a proof")
        self._raise_refusal(claimed.peer, third, *said)
        if third.WhichOneof("body") != "proof":
            raise LinkLost(f"unexpected {third.WhichOneof('body')} in place of a proof")
        judged = await self._judge(hello, third.proof, Role.DIALLER, said, for_link=for_link)
        if isinstance(judged, Refused):
            await self._refuse(stream, claimed.peer, judged, said)
        return judged

    async def _judge(
        self, hello: peer_pb2.Hello, proof: peer_pb2.Proof, role: Role, said: tuple[bytes, ...], *, for_link: bool
    ) -> Introduction | Refused:
        """By what has been proven. Raises Objected, LinkLost."""
        known_peers = self._roster.known_peers
        if not proves_cluster(known_peers.secrets, proof, role, *said):
            return not_proven(known_peers, hello)
        introduction = Introduction.of(hello, is_proven=proves_group(known_peers.secrets, proof, role, *said))
        if known_peers.secrets.by_group and not introduction.is_proven and self._must_hold_group_secret(introduction):
            return not_of_group(known_peers, hello)
        refused = judge_admission(known_peers, introduction) or self._judge_run(introduction)
        if refused is None and for_link:
            refused = await self._note(introduction)
        contradiction = region_contradiction(known_peers, hello)
        if refused is None and contradiction is not None:
            self._roster.log_once.say(f"region:{introduction.peer}", contradiction)
        return refused or introduction

    def _must_hold_group_secret(self, said: Introduction) -> bool:
        """It says that it belongs to our group, or an earlier run of its directory has shown it: a name is no proof."""
        return said.founder == self._roster.known_peers.membership.founder or self._has_shown_group_secret(said)

    def _has_shown_group_secret(self, said: Introduction) -> bool:
        known = self._memory.known(said.peer)
        return known is not None and known.directory_id == said.directory_id and known.is_of_group

    def _judge_run(self, said: Introduction, *, is_proven: bool = True) -> Refused | None:
        """None unless another run of the same directory stands against it.

        is_proven: else nothing of what it says is remembered.
        """
        known = self._memory.known(said.peer)
        if standing_of(known, said.directory_id, said.incarnation) in (Standing.OLDER, Standing.COPY):
            assert known is not None
            return older_run(said, known)
        condemned, why = self._condemned.get(said.peer, (None, ""))
        if condemned == said.incarnation:
            return lost_data(said, why)
        running = self._roster.run_beside(said) if is_proven else None
        return None if running is None else copied_directory(said, running)

    async def _note(self, said: Introduction) -> Refused | None:
        """Remembers a later run before it is linked, but not while an earlier one is: see Objection.FORMER."""
        async with self._noting:
            if self._roster.is_linked_earlier_run(said):
                raise Objected(said.peer, Objection.FORMER)
            refused = self._judge_run(said)  # another handshake may have noted a later run meanwhile
            run = KnownIncarnation(
                said.directory_id, said.incarnation, is_of_group=said.is_proven or self._has_shown_group_secret(said)
            )
            if refused is None and self._memory.known(said.peer) != run:
                try:
                    await self._memory.note(said.peer, run)
                except IncarnationNotKept as error:
                    raise LinkLost(f"the run of the peer cannot be noted: {error}; trying again") from None
                refused = self._judge_run(said)  # what is on disk decides: a note of another run may have come first
            return refused

    def _raise_refusal(self, peer: NodeId, message: peer_pb2.LinkMessage, *said: bytes) -> None:
        if message.WhichOneof("body") == "refusal":
            secrets, refusal = self._roster.known_peers.secrets, message.refusal
            refused = Refused.from_message(
                refusal,
                is_proven=proves_refusal(secrets, refusal, *said),
                is_by_group=proves_refusal_by_group(secrets, refusal, *said),
            )
            raise HandshakeRefused(peer, refused, is_by_peer=True)

    async def _refuse(self, stream: ByteStream, peer: NodeId, refused: Refused, said: tuple[bytes, ...]) -> NoReturn:
        """Tells the other side, and raises HandshakeRefused; that it has gone is no reason to say less in our log."""
        refusal = signed_refusal(self._roster.known_peers.secrets, refused.to_message(), *said)
        with contextlib.suppress(LinkLost):
            await stream.write(peer_pb2.LinkMessage(refusal=refusal).SerializeToString())
        raise HandshakeRefused(peer, refused, is_by_peer=False)


async def _next(stream: ByteStream, what: str) -> peer_pb2.LinkMessage:
    return parse(await _read(stream, what))


async def _read(stream: ByteStream, what: str) -> bytes:
    message = await stream.read()
    if message is None:
        raise LinkLost(f"the stream ended before {what}")
    if len(message) > HANDSHAKE_BYTES_MAX:
        raise LinkLost(f"a message of {len(message)} bytes in place of {what}, at most {HANDSHAKE_BYTES_MAX}")
    return message


def _hello_of(data: bytes) -> peer_pb2.Hello:
    try:
        return peer_pb2.Hello.FromString(data)
    except DecodeError:
        raise LinkLost(f"malformed Hello of {len(data)} bytes in a Welcome") from None
