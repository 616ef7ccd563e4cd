"""Values that several rooms share: ids, errors, limits, members, log entries, and ports for time and signals.

Knows: the standard library only. Must not know: any other room.
"""
