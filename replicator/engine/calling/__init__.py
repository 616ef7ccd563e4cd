"""Callers of this node: whom they ask, how long they wait."""
