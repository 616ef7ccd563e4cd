"""What the leader does for callers: proposals, read index, changes of the group, transfers; and how it is asked."""
