"""The directory itself: one process at a time, nobody else writes, runs are counted."""
