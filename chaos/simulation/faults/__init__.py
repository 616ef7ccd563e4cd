"""What may happen to a simulated cluster: a method a fault, by what it strikes."""

from chaos.simulation.faults.striker import Faults

__all__ = ["Faults"]
