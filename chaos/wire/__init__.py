"""A fault-injecting TCP proxy: what a long, narrow or broken line does to a connection, on loopback, without root.

Exists so that regions on one machine are as far apart as real ones. Knows sockets and time; must not know what the
bytes mean. One rule above all: the bytes of a living connection arrive complete and in order, or the connection dies.
Real TCP never loses a part of a stream, so a proxy that did would test for something that does not happen.
"""

from chaos.wire.bandwidth import Bandwidth
from chaos.wire.cut import CutMode, Direction
from chaos.wire.dead_end import DeadEnd
from chaos.wire.latency import Latency
from chaos.wire.link import Link
from chaos.wire.loss import Loss
from chaos.wire.network import Network, Route
from chaos.wire.settings import LineSettings, LinkCounters, LinkSettings

__all__ = [
    "Bandwidth",
    "CutMode",
    "DeadEnd",
    "Direction",
    "Latency",
    "LineSettings",
    "Link",
    "LinkCounters",
    "LinkSettings",
    "Loss",
    "Network",
    "Route",
]
