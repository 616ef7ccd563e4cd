"""Libraries that stand between a process and the system, for LD_PRELOAD: compiled where they are needed."""

import shutil
import subprocess
from pathlib import Path

import pytest


def built_shim(name: str, folder: Path) -> Path:
    """The library made of `name`.c, which stands beside this file. Skips the test if there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, library = Path(__file__).with_name(f"{name}.c"), folder / f"{name}.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True, timeout=60)
    return library
