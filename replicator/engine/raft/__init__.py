"""The guard around SyncObj: messages, votes, replication, the group and its timers. Runs on every node."""
