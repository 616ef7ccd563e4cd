"""The committed stubs are what the protos generate."""

import subprocess
import sys
from pathlib import Path

from tests.house.source import ROOT


def test_committed_stubs_match_the_protos(tmp_path: Path) -> None:
    """`make proto` would change nothing."""
    scripts = Path(sys.executable).parent
    protos = sorted((ROOT / "proto/replicator/v1").glob("*.proto"))
    assert protos
    subprocess.run(
        [
            sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT / "proto"),
            f"--plugin={scripts / 'protoc-gen-mypy'}", f"--plugin={scripts / 'protoc-gen-mypy_grpc'}",
            f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}", f"--mypy_out={tmp_path}",
            f"--mypy_grpc_out={tmp_path}", *map(str, protos),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    generated = {path.name: path.read_text() for path in (tmp_path / "replicator/v1").iterdir()}
    committed = {
        path.name: path.read_text()
        for path in (ROOT / "replicator/v1").iterdir()
        if path.name != "__init__.py" and path.suffix in {".py", ".pyi"}
    }
    assert generated == committed
