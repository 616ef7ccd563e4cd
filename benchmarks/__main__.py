"""`python -m benchmarks`."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # or gRPC reports each process that is started; read when it loads

from benchmarks.command import benchmarks

benchmarks(prog_name="python -m benchmarks")
