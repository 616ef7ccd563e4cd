"""The operator of the simulated cluster: adds, removes and replaces nodes, one change at a time, retried until done.

What it does to nodes is what an operator does to machines: starts a new one with nothing on its disk, stops one that
was removed, and puts an empty disk where one was lost.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chaos.simulation.node import SimNode, member_at
from chaos.simulation.promises.records import Records
from chaos.simulation.timeline import Timeline
from replicator.model.errors import InvalidArgument, NoMajority, ReplicatorError
from replicator.model.ids import NodeId
from replicator.model.members import Member, MemberChange, MemberRole, Membership, RemoveMember, SetMember

NEWCOMERS_MAX = 2  # beyond what the cluster began with, so that a run stays as small as its seed says


@dataclass(slots=True)
class _Task:
    """change: the change to make. must: it is repeated however often it is refused."""

    change: MemberChange
    must: bool
    done: Callable[[], None]


class Operator:
    """recruit: makes a node of that name with an empty disk, in place of one that had the name; it does not run yet."""

    def __init__(
        self,
        *,
        nodes: Sequence[SimNode],
        records: Records,
        timeline: Timeline,
        dice: random.Random,
        recruit: Callable[[NodeId], SimNode],
        dismiss: Callable[[SimNode], None],
        ask_again_s: float,
    ) -> None:
        self._nodes, self._records, self._timeline, self._dice = nodes, records, timeline, dice
        self._recruit, self._dismiss, self._ask_again_s = recruit, dismiss, ask_again_s
        self._size, self._hired = len(nodes), 0
        self._task: _Task | None = None
        self._attempt = 0
        self.changes = 0  # that were granted

    @property
    def is_idle(self) -> bool:
        """No change is pending, and each joining node has its final role."""
        joining = any(member.role is MemberRole.JOINING for member in self._records.membership.members)
        return self._task is None and not joining

    def add_node(self, role: MemberRole) -> None:
        """A new node, with a name that nobody has had."""
        if self.is_idle and len(self._records.membership.members) < self._size + NEWCOMERS_MAX:
            self._hired += 1
            node = self._recruit(NodeId(f"n{self._size + self._hired}"))
            node.start()
            self._request(SetMember(_member(node, role)), must=True)

    def remove(self, name: NodeId | None = None, *, at: SimNode | None = None) -> bool:
        """Any member, the leader too; two voters stay. The node runs on for a while, and may try to disturb.

        name: this one, if it is a member. at: where to ask first. True if that change is pending now.
        """
        membership = self._records.membership
        if not self.is_idle or len(membership.voters) < 3:
            return False
        node = self._records.node(name or self._dice.choice(membership.members).node_id)
        if node is None or membership.get(node.node_id) is None:
            return False
        self._request(RemoveMember(node.node_id), done=lambda: self._dismiss_later(node), at=at)
        return True

    def change_role(self) -> None:
        """A voter becomes an observer, or an observer a voter."""
        membership = self._records.membership
        if not self.is_idle or len(membership.voters) < 3:
            return
        member = self._dice.choice(membership.members)
        node = self._records.node(member.node_id)
        role = MemberRole.OBSERVER if member.role is MemberRole.VOTER else MemberRole.VOTER
        if node is not None:
            self._request(SetMember(_member(node, role, directory_id=b"")))

    def lose_disk(self) -> None:
        """A node comes back under its name with nothing on its disk: at times first as if nothing had happened.

        One disk at a time, and of three voters at least: more losses than that, no group can survive.
        """
        membership = self._records.membership
        if not self.is_idle or len(membership.voters) < 3:
            return
        member = self._dice.choice(membership.members)
        node = self._records.node(member.node_id)
        if node is None or not member.directory_id:
            return  # the group could not tell the new disk from the lost one: see docs/raft.md, not covered
        self._dismiss(node)
        successor = self._recruit(member.node_id)
        role = MemberRole.OBSERVER if member.role is MemberRole.OBSERVER else MemberRole.VOTER
        successor.start()
        self._request(SetMember(_member(successor, role)), must=True)

    def dismiss_strangers(self) -> None:
        """Nodes that are no members stop for good."""
        for node in list(self._nodes):
            member = self._records.membership.get(node.node_id)
            if member is None or member.directory_id not in (b"", node.directory_id):
                self._dismiss(node)

    def _dismiss_later(self, node: SimNode) -> None:
        self._timeline.after(self._dice.expovariate(0.1 / self._ask_again_s), lambda: self._dismiss_if_removed(node))

    def _dismiss_if_removed(self, node: SimNode) -> None:
        if self._records.membership.get(node.node_id) is None:
            self._dismiss(node)

    def _request(
        self,
        change: MemberChange,
        *,
        must: bool = False,
        done: Callable[[], None] = lambda: None,
        at: SimNode | None = None,
    ) -> None:
        self._task = _Task(change, must, done)
        self._ask(at)

    def _ask(self, at: SimNode | None = None) -> None:
        """At any node. A refusal for good ends what need not be."""
        task = self._task
        if task is None:
            return
        self._attempt += 1
        attempt = self._attempt
        self._timeline.after(self._ask_again_s * (0.5 + self._dice.random()), lambda: self._ask_again(attempt))
        node = at or self._dice.choice(self._nodes)

        def answered(result: Membership | ReplicatorError) -> None:
            if self._task is not task:
                return
            if isinstance(result, Membership):
                self._task, self.changes = None, self.changes + 1
                task.done()
            elif not task.must and isinstance(result, InvalidArgument | NoMajority):
                self._task = None

        timeout_s = self._ask_again_s
        node.call(lambda process: process.engine.change_members(task.change, timeout_s=timeout_s), answered)

    def _ask_again(self, attempt: int) -> None:
        if attempt == self._attempt:
            self._ask()


def _member(node: SimNode, role: MemberRole, directory_id: bytes | None = None) -> Member:
    return member_at(node.node_id, role, node.directory_id if directory_id is None else directory_id)
