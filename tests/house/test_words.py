"""What must never be in the repository: addresses of registries, paths of one machine, secrets."""

import re
import subprocess

from tests.house.source import ROOT

BANNED = re.compile(
    r"(/home/\w+|/Users/\w+|/root/|-----BEGIN [A-Z ]*PRIVATE KEY|--index-url|extra-index-url|files\.pythonhosted)"
)


def test_no_machine_and_no_secret_is_named() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    found = []
    for name in filter(None, tracked.split("\0")):
        if name == "tests/house/test_words.py" or not (ROOT / name).is_file():
            continue
        text = (ROOT / name).read_text(encoding="utf-8", errors="ignore")
        found += [f"{name}: {match.group()}" for match in BANNED.finditer(text)]
    assert found == []
