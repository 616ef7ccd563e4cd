"""Which peers to dial as the membership changes: one dialler an address, begun, replaced and ended here."""

import asyncio
import random

from replicator.model.ids import NodeId
from replicator.transport.handshake.node_certificates import PeerCredentials
from replicator.transport.links.dialler import Dialler
from replicator.transport.links.introductions import Introductions
from replicator.transport.links.roster import Roster
from replicator.transport.settings import PeerAddress


class Dialling:
    """Keeps dialling all known peers of the roster, from `begin` to `cancel`."""

    def __init__(
        self,
        roster: Roster,
        introductions: Introductions,
        credentials: PeerCredentials | None,
        dice: random.Random,
    ) -> None:
        self._roster = roster
        self._introductions = introductions
        self._credentials = credentials
        self._dice = dice
        self._diallers: dict[NodeId, Dialler] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # also of diallers that end, but have not ended yet
        roster.on_vacant = self._vacant

    def follow(self) -> None:
        """What is known now: begins, ends, moves; and asks those again that refused us under another membership."""
        wanted = {peer.node_id: peer for peer in self._roster.known_peers.others()}
        for node_id in self._diallers.keys() - wanted.keys():
            self._diallers.pop(node_id).end()
        for node_id, peer in wanted.items():
            dialler = self._diallers.get(node_id)
            if dialler is None:
                self._begin(peer)
            elif dialler.addresses != peer.addresses:
                dialler.end()
                self._begin(peer)
            else:
                dialler.encourage()

    def cancel(self) -> set[asyncio.Task[None]]:
        """Ends all; returns the tasks that are ending."""
        for task in self._tasks:
            task.cancel()
        return set(self._tasks)

    def _begin(self, peer: PeerAddress) -> None:
        dialler = Dialler(peer, self._roster, self._introductions, self._credentials, self._dice)
        self._diallers[peer.node_id] = dialler
        task = dialler.start()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _vacant(self, peer: NodeId) -> None:
        dialler = self._diallers.get(peer)
        if dialler is not None:
            dialler.vacant()
