"""Scenarios that are played twice: on real processes and in the deterministic simulation.

A script (scenarios.py) knows a stage (stage.py) and not which of the two it is; both stages keep the history that their
callers saw, and the same checkers judge it. What a script reports of its course must be the same in both worlds.
"""
