"""A directory that no node runs on: read it, or found a new group from it."""
