"""Stock SyncObj on a bench: no guard, no sockets; its clock, dice and messages are in the hands of the test."""

import pickle
import random
from typing import Any

import pytest
from pysyncobj import SyncObjConf, replicated, syncobj
from pysyncobj.journal import MemoryJournal
from pysyncobj.node import Node
from pysyncobj.transport import Transport

ME, B, C = Node("a"), Node("b"), Node("c")
NO_OP = b"\x01"
TIMING = {"raftMinTimeout": 0.4, "raftMaxTimeout": 0.8, "appendEntriesPeriod": 0.1, "connectionTimeout": 1.0}


class Bench(Transport):  # type: ignore[misc]  # pysyncobj has no types
    """A transport that remembers what was sent."""

    ready = True

    def __init__(self) -> None:
        super().__init__(None, None, [])
        self.sent: list[tuple[Node, dict[str, Any]]] = []

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        self.sent.append((node, message))
        return True

    def destroy(self) -> None: ...

    def of(self, kind: str, to: Node | None = None) -> list[dict[str, Any]]:
        return [message for node, message in self.sent if message["type"] == kind and to in (None, node)]


class SpyJournal(MemoryJournal):  # type: ignore[misc]  # pysyncobj has no types
    """Remembers how it is used, and keeps its commit index, as the stock file journal does."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Any]] = []
        self.commit_index = 1

    def __getitem__(self, item: Any) -> Any:
        self.calls.append(("getitem", item))
        return super().__getitem__(item)

    def deleteEntriesFrom(self, entryFrom: int) -> None:  # noqa: N802, N803
        self.calls.append(("deleteEntriesFrom", entryFrom))
        super().deleteEntriesFrom(entryFrom)

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:  # noqa: N802, N803
        self.calls.append(("setCurrentTerm", (term, votedForNodeId)))
        super().setCurrentTerm(term, votedForNodeId)

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:  # noqa: N802, N803
        self.commit_index = raftCommitIndex

    def getRaftCommitIndex(self) -> int:  # noqa: N802
        return self.commit_index


class StockNode:
    """Node a of a, b, c. `settings` override SyncObjConf; `overrides` replace methods by their mangled names."""

    def __init__(
        self, patch: pytest.MonkeyPatch, peers: tuple[Node, ...] = (B, C), overrides: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:  # fmt: skip
        self.now_s = 100.0
        self.journal, self.wire = SpyJournal(), Bench()
        self.applied: list[Any] = []
        patch.setattr(syncobj, "monotonicTime", lambda: self.now_s)
        patch.setattr(syncobj, "random", random.Random(1))
        patch.setattr(syncobj, "createJournal", lambda _file: self.journal)
        applied = self.applied

        class Counted(syncobj.SyncObj):  # type: ignore[misc]
            @replicated  # type: ignore[untyped-decorator]
            def put(self, value: str) -> None:
                applied.append(value)
                if value == "raise":
                    raise ValueError(value)

        for name, method in (overrides or {}).items():
            assert callable(getattr(syncobj.SyncObj, name)), name
            setattr(Counted, name, method)
        options = {"autoTick": False, "commandsWaitLeader": False, "appendEntriesUseBatch": True, **TIMING, **settings}
        self.engine: Any = Counted(ME, list(peers), SyncObjConf(**options), transport=self.wire)
        self.wire.sent.clear()

    def private(self, name: str) -> Any:
        return getattr(self.engine, f"_SyncObj__{name}")

    def hear(self, peer: Node, **message: Any) -> list[dict[str, Any]]:
        """A message arrives; what it made the node send."""
        before = len(self.wire.sent)
        self.wire._onMessageReceived(peer, message)
        return [sent for _, sent in self.wire.sent[before:]]

    def append(self, *terms: int, prev: tuple[int, int], term: int, commit: int = 1) -> list[dict[str, Any]]:
        """An append of b with entries of these terms after `prev` (index, term)."""
        entries = [(pickle.dumps((0, (f"{t}/{i}",))), i, t) for i, t in enumerate(terms, start=prev[0] + 1)]
        entries = [(b"\x00" + command, index, t) for command, index, t in entries]
        return self.hear(B, type="append_entries", term=term, commit_index=commit, entries=entries,
                         prevLogIdx=prev[0], prevLogTerm=prev[1])  # fmt: skip

    def log(self) -> list[tuple[int, int]]:
        return [(index, term) for _, index, term in MemoryJournal.__getitem__(self.journal, slice(None))]

    def tick(self, after_s: float = 0.0) -> None:
        self.now_s += after_s
        self.engine.doTick(0.0)

    def lead(self) -> "StockNode":
        """Links are up, the election deadline passes, b votes."""
        for peer in self.engine.otherNodes:
            self.wire._onNodeConnected(peer)
        self.tick(TIMING["raftMaxTimeout"] + 0.1)
        self.hear(B, type="response_vote", term=self.engine.raftCurrentTerm)
        assert self.engine._isLeader()
        return self
