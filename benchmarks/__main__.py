"""`python -m benchmarks`."""

from benchmarks.command import benchmarks

benchmarks(prog_name="python -m benchmarks")
