"""Carry bytes between nodes, never their meaning.

Exists because PySyncObj's own transport unpickles whatever reaches an open port. Here: one gRPC stream a pair of nodes,
protobuf envelopes, mutual TLS, bounded queues, numbered links.
Sub-rooms: `handshake/` (pure verdicts and proofs), `links/` (one stream a pair), `snapshots/` (files beside the links).
Knows: node ids, addresses, frames as opaque bytes. Must not know: Raft, entries, storage, what a frame says.
"""
