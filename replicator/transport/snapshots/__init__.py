"""Snapshot files between nodes, beside the links."""
