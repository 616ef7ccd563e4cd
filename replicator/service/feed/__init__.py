"""The change feed: what is watched, what changed last, and one cursor for each watcher."""
