"""The Raft log and hard state, and whether their numbers make sense."""
