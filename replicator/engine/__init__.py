"""The Raft engine: SyncObj behind a guard. The only room with pysyncobj; `driver.py` is its front door.

- `calling/`: callers of this node, and how long they wait for a leader;
- `leading/`: tasks of the leader: proposals, read index, member and timer changes, transfers;
- `raft/`: the guard around SyncObj: messages, pre-vote, replication, the group, its timers;
- `snapshots/`: which node makes a snapshot for which, and how one is made, fetched and installed;
- `stock/`: SyncObj itself: the graft that patches it and the journal that it writes to.
Knows: storage through one turn, transport through frames. Must not know: gRPC, what a command means.
"""
