"""Callers of this node: which leader they ask, how long they wait."""
