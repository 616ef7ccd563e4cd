"""Snapshot files: made, checked, and put in the place of a node's data."""
