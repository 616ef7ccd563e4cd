"""What the state machine reads and writes, and one turn of the node on disk."""
