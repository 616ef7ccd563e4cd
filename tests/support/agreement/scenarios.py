"""The table: what happens, and what is to be seen of it in both worlds.

A fault strikes after a number of acknowledged writes that the seed draws, and lasts until what it leads to has come
about; only a SIGSTOP lasts for a time of its own. Whatever remains broken at the end of a script, the stage heals.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

from replicator.model.ids import NodeId
from tests.support.agreement.stage import Ended, Reign, Stage

STOPPED_S = 10.0
FLAPS = 10


@dataclass(frozen=True, slots=True)
class Course:
    """How it went; None where the scenario has no such thing.

    leader: at the end of the fault. gave_up: the leader of before said during the fault that it leads no more, by its
    own count of who answers, before any link fell. write, read: how calls ended that the struck node was asked for.
    transfers: how they ended. refused: a node without its disk was accepted by no node. votes: a node that joined does.
    In every scenario, a side with a majority goes on: scripts wait for acknowledged writes, and fail without them.
    """

    leader: Literal["same", "another"] | None = None
    gave_up: bool | None = None
    write: Ended | None = None
    read: Ended | None = None
    transfers: tuple[Ended, ...] = ()
    refused: bool | None = None
    votes: bool | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """name: of the row. expected: its course, in both worlds."""

    name: str
    play: Callable[[Stage], Awaitable[Course]]
    expected: Course


async def kill_all(stage: Stage) -> Course:
    await stage.kill(*stage.names)
    await stage.start(*stage.names)
    await stage.more_writes()
    return Course()


async def kill_leader(stage: Stage) -> Course:
    before = await stage.reign()
    await stage.kill(before.node)
    after = await stage.reign(without=before.node)
    await stage.more_writes()
    await stage.start(before.node)
    return Course(leader=compared(before, after))


async def stop_leader(stage: Stage) -> Course:
    """It wakes and believes that it leads. What it was asked for meanwhile must not be answered from that belief."""
    before = await stage.reign()
    await stage.stop(before.node)
    after = await stage.reign(without=before.node)
    await stage.more_writes()
    asked = await stage.ask(before.node)
    await stage.lasts(STOPPED_S)
    await stage.wake(before.node)
    await stage.gives_up(before.node)
    await asked.ends()  # in whatever way: the history says whether it was a true one
    return Course(leader=compared(before, after))


async def stop_follower(stage: Stage) -> Course:
    before = await stage.reign()
    stopped, _ = others(stage, before)
    await stage.stop(stopped)
    await stage.lasts(STOPPED_S)
    await stage.more_writes()
    after = await stage.reign()
    await stage.wake(stopped)
    return Course(leader=compared(before, after))


async def cut_leader_off(stage: Stage) -> Course:
    before = await stage.reign()
    for other in others(stage, before):
        await cut_both_ways(stage, before.node, other)
    return await leader_is_replaced(stage, before)


async def deafen_leader(stage: Stage) -> Course:
    """The followers hear a leader that hears nobody: only it can end this."""
    before = await stage.reign()
    for other in others(stage, before):
        await stage.cut(other, before.node)
    return await leader_is_replaced(stage, before)


async def mute_leader(stage: Stage) -> Course:
    """The leader hears followers that do not hear it; they elect another one."""
    before = await stage.reign()
    for other in others(stage, before):
        await stage.cut(before.node, other)
    asked = await stage.ask(before.node)
    gave_up = await stage.gives_up(before.node)
    after = await stage.reign(without=before.node)
    await stage.more_writes()
    await stage.heal()
    await asked.ends()  # its read may have gone to the next leader by then
    return Course(leader=compared(before, after), gave_up=gave_up)


async def cut_follower_off(stage: Stage) -> Course:
    """A minority of one that comes back must not depose the leader of the majority."""
    before = await stage.reign()
    alone, _ = others(stage, before)
    for other in stage.names:
        if other != alone:
            await cut_both_ways(stage, alone, other)
    await stage.lasts(2 * stage.election_s)
    await stage.more_writes()
    await stage.heal()
    await stage.lasts(stage.election_s)
    return await goes_on(stage, before)


async def cut_follower_from_leader(stage: Stage) -> Course:
    """A bridge: the follower that both see hears the leader, so it elects nobody else."""
    before = await stage.reign()
    alone, _ = others(stage, before)
    await cut_both_ways(stage, alone, before.node)
    await stage.lasts(2 * stage.election_s)
    return await goes_on(stage, before)


async def flap(stage: Stage) -> Course:
    """Between the leader and one follower."""
    before = await stage.reign()
    one, _ = others(stage, before)
    for _ in range(FLAPS):
        await stage.flap(before.node, one)
        await stage.lasts(0.15 * stage.election_s)
    return await goes_on(stage, before)


async def transfer_during_a_cut(stage: Stage) -> Course:
    """To the follower that is cut off: the leader leads on. To the other one: that one leads."""
    before = await stage.reign()
    alone, near = others(stage, before)
    for other in stage.names:
        if other != alone:
            await cut_both_ways(stage, alone, other)
    in_vain = await stage.transfer(alone)
    assert await stage.reign() == before
    await stage.more_writes()
    done = await stage.transfer(near)
    after = await stage.reign(without=before.node)
    await stage.more_writes()
    assert after.node == near
    return Course(leader=compared(before, after), transfers=(in_vain, done))


async def add_while_one_is_stopped(stage: Stage) -> Course:
    """Two of three decide that there are four, and three of four go on."""
    before = await stage.reign()
    stopped, _ = others(stage, before)
    await stage.stop(stopped)
    added = await stage.add()
    votes = await stage.votes(added)
    await stage.more_writes()
    after = await stage.reign()
    await stage.wake(stopped)
    return Course(leader=compared(before, after), votes=votes)


async def lose_a_disk(stage: Stage) -> Course:
    """A node that has forgotten its votes is linked by no node until it joins as a new one."""
    before = await stage.reign()
    lost, _ = others(stage, before)
    await stage.kill(lost)
    await stage.wipe(lost)
    await stage.start(lost)
    refused = await stage.is_refused(lost)
    await stage.more_writes()
    await stage.kill(lost)
    await stage.wipe(lost)
    await stage.start(lost, joining=True)
    votes = await stage.votes(lost)
    await stage.more_writes()
    return Course(leader=compared(before, await stage.reign()), refused=refused, votes=votes)


SCENARIOS = (
    Scenario("kill-all", kill_all, Course()),
    Scenario("kill-leader", kill_leader, Course(leader="another")),
    Scenario("stop-leader", stop_leader, Course(leader="another")),
    Scenario("stop-follower", stop_follower, Course(leader="same")),
    Scenario(
        "cut-leader-off",
        cut_leader_off,
        Course(leader="another", gave_up=True, write="unknown", read="refused"),
    ),
    Scenario(
        "deafen-leader",
        deafen_leader,
        Course(leader="another", gave_up=True, write="unknown", read="refused"),
    ),
    Scenario("mute-leader", mute_leader, Course(leader="another", gave_up=True)),
    Scenario("cut-follower-off", cut_follower_off, Course(leader="same")),
    Scenario("cut-follower-from-leader", cut_follower_from_leader, Course(leader="same")),
    Scenario("flap", flap, Course(leader="same")),
    Scenario(
        "transfer-during-a-cut",
        transfer_during_a_cut,
        Course(leader="another", transfers=("refused", "ok")),
    ),
    Scenario("add-while-one-is-stopped", add_while_one_is_stopped, Course(leader="same", votes=True)),
    Scenario("lose-a-disk", lose_a_disk, Course(leader="same", refused=True, votes=True)),
)


async def leader_is_replaced(stage: Stage, before: Reign) -> Course:
    """It has been cut off: it learns so by itself, tells those who ask it, and the others go on without it."""
    asked = await stage.ask(before.node)
    gave_up = await stage.gives_up(before.node)
    answers = await asked.ends()
    after = await stage.reign(without=before.node)
    await stage.more_writes()
    return Course(compared(before, after), gave_up, answers.write, answers.read)


async def goes_on(stage: Stage, before: Reign) -> Course:
    """With the leader at that time."""
    await stage.more_writes()
    return Course(leader=compared(before, await stage.reign()))


async def cut_both_ways(stage: Stage, one: NodeId, other: NodeId) -> None:
    for sender, receiver in permutations((one, other)):
        await stage.cut(sender, receiver)


def others(stage: Stage, reign: Reign) -> tuple[NodeId, NodeId]:
    """Those of the first three that do not lead."""
    one, other = (name for name in stage.names if name != reign.node)
    return one, other


def compared(before: Reign, after: Reign) -> Literal["same", "another"]:
    """Also the same node counts as another leader if it had to be elected anew."""
    return "same" if before == after else "another"
