"""Use cases, one per file: write, read, scan, status, members, leadership.

Exists so that a promise (what a read level means, when a write may be retried) is decided once, whatever face it is
asked through.
Knows: the engine and the store as ports, tokens, limits. Must not know: gRPC, pysyncobj, lmdb, OpenTelemetry.
"""
