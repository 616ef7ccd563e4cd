"""Links within the project lead somewhere."""

import pytest

from tests.docs.pages import ROOT, anchors, links, pages

PAGES = [str(page.relative_to(ROOT)) for page in pages()]


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_of_a_page_resolves(page: str) -> None:
    """To a file or folder, and to a heading if it names one."""
    broken = []
    for link in sorted(links(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        name = str(target.resolve().relative_to(ROOT))
        if not target.exists() or (anchor and anchor not in anchors(name)):
            broken.append(link)
    assert broken == []


def test_every_page_of_docs_can_be_reached_from_the_readme() -> None:
    """What nobody can find nobody keeps true."""
    reached = {"README.md"}
    waiting = ["README.md"]
    while waiting:
        page = waiting.pop()
        for link in links(page):
            target = ((ROOT / page).parent / link.partition("#")[0]).resolve()
            found = sorted(target.glob("*.md")) if target.is_dir() else [target]
            for file in found:
                if file.suffix == ".md" and file.is_file() and (name := str(file.relative_to(ROOT))) not in reached:
                    reached.add(name)
                    waiting.append(name)
    assert {page for page in PAGES if page.startswith("docs/")} <= reached
