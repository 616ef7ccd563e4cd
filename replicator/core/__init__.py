"""Pure deciders: plain values in and out.

Knows: tokens, the file of an export, and the arithmetic around them.
Must not know: sockets, clocks, asyncio, lmdb, pysyncobj, gRPC.
"""
