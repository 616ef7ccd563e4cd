"""Every example in a page is run, or says why not."""

from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks, pages
from tests.docs.transcripts import Shell, dev_cluster

RUNNABLE = {"sh", "console", "python", "toml"}
BY_OTHERS = {"docs/benchmarks.md"}  # measured, not repeated


def test_every_example_is_run_or_says_why_not() -> None:
    silent = [
        f"{block.page}:{block.line}"
        for page in pages()
        if (name := str(page.relative_to(ROOT))) not in BY_OTHERS
        for block in blocks(name)
        if block.language in RUNNABLE and not block.mark.startswith(("tour: ", "run: ", "not run: "))
    ]
    assert silent == []


@pytest.mark.process
@pytest.mark.parametrize("page", ["docs/cli.md", "docs/sdk.md"])
def test_the_examples_of_a_page_work_as_printed(page: str, tmp_path: Path) -> None:
    """On a fresh cluster, in the order of the page."""
    examples = [block for block in blocks(page) if block.mark.startswith("run: ")]
    assert examples
    with dev_cluster(tmp_path, "replicator dev --data cluster") as (_, environment):
        Shell(tmp_path, environment).take(examples).run()
