"""The shipped use cases, over one simulated process: what simulated clients call, as the API does in a node."""

from dataclasses import dataclass

from replicator.model.clock import Clock
from replicator.service.ports import EnginePort
from replicator.service.read import ReadService
from replicator.service.scan import ScanService
from replicator.service.write import WriteService
from replicator.storage.storage import Storage


@dataclass(frozen=True, slots=True)
class Services:
    """Of one process."""

    write: WriteService
    read: ReadService
    scan: ScanService


def services_over(engine: EnginePort, storage: Storage, clock: Clock) -> Services:
    """As node/wiring.py has it."""
    return Services(
        WriteService(engine, clock), ReadService(engine, storage, clock), ScanService(engine, storage, clock)
    )
