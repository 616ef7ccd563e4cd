"""The composition root: builds every room of one node from its configuration, runs it, drains it, stops it.

Exists so that no room constructs another. Knows: every room below, signals, uvloop, exit codes.
Must not know: how any room does its work; nothing is decided here but order and time limits.
"""
