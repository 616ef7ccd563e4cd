"""What must hold while a simulated cluster runs, and after it has healed: one promise a file, all in `judge`."""

from chaos.simulation.promises.judge import Judge
from chaos.simulation.promises.records import WriteKey, write_name
from chaos.simulation.promises.violation import Violation, broken

__all__ = ["Judge", "Violation", "WriteKey", "broken", "write_name"]
