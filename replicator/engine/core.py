"""What every part of a replica works on, assembled once."""

import random
from dataclasses import dataclass

from replicator.engine.raft.group import Group
from replicator.engine.raft.links import Links
from replicator.engine.raft.pump import Pump
from replicator.engine.raft.timers import Timers
from replicator.engine.settings import EngineSettings
from replicator.engine.stock.graft import EngineHooks, Graft
from replicator.engine.stock.journal import LogReader, TurnJournal
from replicator.model.clock import Clock
from replicator.model.ids import LogIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaCore:
    """The parts that all others see: settings, membership, SyncObj, log, links, and what goes to followers."""

    settings: EngineSettings
    timers: Timers
    group: Group
    graft: Graft
    journal: TurnJournal
    pump: Pump
    links: Links
    clock: Clock

    @classmethod
    def assemble(
        cls,
        settings: EngineSettings,
        *,
        log: LogReader,
        applied_index: LogIndex,
        clock: Clock,
        dice: random.Random,
        hooks: EngineHooks,
        timers: Timers | None,
    ) -> "ReplicaCore":
        """Over what the disk holds. timers: those of the replica before this one, if there was one in this process."""
        journal, links = TurnJournal(log, applied_index), Links()
        group = Group(
            settings.node_id,
            settings.directory_id,
            log.membership() or settings.membership,
            joining=settings.joining,
            leader_preference=settings.leader_preference,
        )
        graft = Graft(settings, journal=journal, applied_index=applied_index, clock=clock, dice=dice, hooks=hooks)
        graft.set_members(group.other_voters, group.other_replicas)
        timers = timers or Timers(settings.timing)
        timers.bind(graft)
        pump = Pump(settings, timers, group=group, graft=graft, journal=journal, clock=clock, links=links)
        return cls(
            settings=settings, timers=timers, group=group, graft=graft, journal=journal, pump=pump, links=links,
            clock=clock,
        )  # fmt: skip
