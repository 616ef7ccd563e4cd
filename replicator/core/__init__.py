"""Pure deciders: plain values in and out.

Knows: tokens and the arithmetic around them. Must not know: sockets, clocks, asyncio, lmdb, pysyncobj, gRPC.
"""
