"""A promise is broken."""

from chaos.simulation.node import SimNode


class Violation(AssertionError):  # named as what it says
    """The text says which promise, when and where."""


def broken(node: SimNode, problem: str) -> Violation:
    """A violation that `node` shows."""
    return Violation(f"{node.timeline.now_s:.3f}s: {node.node_id} {problem}")
