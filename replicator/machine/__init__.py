"""The deterministic state machine: same entries, same bytes, same outcomes, on every node.

Exists so that what a command means is decided in one place, by values alone.
Knows: log entries and a store port. Must not know: clocks, dice, files, lmdb, pysyncobj, asyncio. Time arrives in the
entry. Nothing here raises for any bytes in an entry: a bad command is an outcome.
"""
