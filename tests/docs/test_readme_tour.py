"""The README's tour, run as it is printed: the same commands, the same files, the same answers."""

from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks, read
from tests.docs.transcripts import Shell, dev_cluster, link_environment, normalised, steps

pytestmark = pytest.mark.process


def test_the_tour_of_the_readme_works_as_printed(tmp_path: Path) -> None:
    """A reader who follows it literally sees what it shows."""
    tour = [block for block in blocks("README.md") if block.mark.startswith("tour: ")]
    first, rest = tour[0], tour[1:]
    assert first.mark == "tour: dev"
    activate, start = steps(first)
    assert activate.command == "source .venv/bin/activate"
    link_environment(tmp_path)

    with dev_cluster(tmp_path, start.command) as (printed, environment):
        assert normalised(printed) == normalised(start.shown)
        Shell(tmp_path, environment).take(rest).run()


def test_the_demo_excerpt_names_promises_that_the_demo_checks() -> None:
    """The excerpt is of a real run; what it says was promised must be what the code checks today."""
    excerpt = next(block.text for block in blocks("README.md") if "EVERY PROMISE HELD" in block.text)
    titles = [line.split("✓")[1].split("  ")[1].strip() for line in excerpt.splitlines() if "✓" in line]
    source = "".join(file.read_text() for file in sorted((ROOT / "chaos/demo").glob("*.py")))

    assert len(titles) == 6
    assert [title for title in titles if title not in source] == []


def test_the_two_commands_exist() -> None:
    makefile = read("Makefile")
    for command in ("demo", "test"):
        assert f"\n{command}: " in makefile
        assert f"make {command}" in read("README.md")
