"""What operators copy is accepted by the code, and by systemd where it is installed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from replicator.config.load import load_config
from replicator.config.schema import NodeConfig
from replicator.node.main import WATCHDOG_S
from tests.docs.pages import ROOT, read

EXAMPLES = sorted((ROOT / "deploy/config").glob("*.toml"))
UNIT = "deploy/systemd/replicator@.service"


def loaded(example: Path, directory: Path) -> NodeConfig:
    """The example with its certificates replaced by empty files: what they hold is read when a node starts."""
    text = re.sub(r'(\w+_file) = "[^"]+"', r'\1 = "\1.pem"', example.read_text())
    for name in re.findall(r'_file = "([^"]+)"', text):
        (directory / name).touch()
    copy = directory / example.name
    copy.write_text(text)
    return load_config(copy)


def test_the_example_configurations_make_one_cluster_of_three_regions(tmp_path: Path) -> None:
    configs = [loaded(example, tmp_path) for example in EXAMPLES]

    assert [config.node.id for config in configs] == [example.stem for example in EXAMPLES]
    assert {config.node.region for config in configs} == {"eu", "us", "ap"}
    assert len({config.cluster for config in configs}) == 1
    assert [member.id for member in configs[0].cluster.members] == ["eu-1", "us-1", "ap-1"]
    assert all(config.tls and config.tls.require_client_certificate for config in configs)
    assert all(config.raft.profile == "wan" for config in configs)


def test_the_unit_and_the_examples_agree_on_paths() -> None:
    unit = read(UNIT)
    for example in EXAMPLES:
        text = example.read_text()
        assert f'data_dir = "/var/lib/replicator/{example.stem}"' in text
        assert f'key_file = "/etc/replicator/tls/{example.stem}.key"' in text
    assert "StateDirectory=replicator/%i" in unit
    assert "ExecReload=/bin/kill -HUP $MAINPID" in unit
    assert "LoadCredential=" not in unit, "a copy made at the start, which new keys would never reach"
    assert int(re.findall(r"TimeoutStopSec=(\d+)", unit)[0]) > WATCHDOG_S


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """As an instance, with the program where this one runs."""
    unit = tmp_path / "replicator@eu-1.service"
    unit.write_text(read(UNIT).replace("/opt/replicator/bin/", f"{Path(sys.executable).parent}/"))

    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)

    assert (done.returncode, [line for line in done.stderr.splitlines() if unit.name in line]) == (0, [])
