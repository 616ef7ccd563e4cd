"""A message that names a page and a section of the docs leads to a section that is there."""

import ast
import re

from tests.house.source import ROOT, python_files, tree_of

MENTION = re.compile(r"docs/(operating\.md), ([^\n]+)")


def test_messages_name_sections_that_exist() -> None:
    mentions = [
        (page, rest)
        for file in python_files("replicator")
        for text in texts_of(tree_of(file))
        for page, rest in MENTION.findall(text)
        if not rest.startswith("%s")
    ]
    assert len(mentions) > 5
    for page, rest in mentions:
        assert rest.lower().startswith(sections_of(page)), f"docs/{page} has no section for: {rest}"


def texts_of(tree: ast.Module) -> list[str]:
    """String literals, joined as the compiler joins them; what an f-string fills in is left out."""
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    formatted = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    texts += ["".join(str(part.value) for part in f.values if isinstance(part, ast.Constant)) for f in formatted]
    return texts


def sections_of(page: str) -> tuple[str, ...]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return tuple(title.lower() for title in re.findall(r"^#{2,3} (.+)$", text, re.MULTILINE))
