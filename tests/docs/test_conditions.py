"""Each condition that a probe or `replicator status` can show is in operating.md, with its meaning and what to do."""

import ast
import re
from collections import Counter

from replicator.model.conditions import Condition
from tests.docs.pages import code, table
from tests.house.source import ROOT, python_files, tree_of

# Where conditions become text. What else these say is no condition.
TELLERS = ("replicator/node/health.py", "replicator/cli/status.py", "replicator/engine/snapshots/storing.py",
           "replicator/engine/snapshots/providing.py", "replicator/storage/snapshots/room.py")  # fmt: skip
TEXT_OF = {"ProbeAnswer": 1, "notes.append": 0, "Problem": 0}  # which argument begins the text
WELL = ("live", "started", "ready: ")


def test_each_condition_is_told_with_what_it_means_and_what_to_do() -> None:
    rows = table("docs/operating.md", "the condition")
    assert Counter(code(row[0]) for row in rows) == Counter(map(str, Condition))
    for name, meaning, remedy in rows:
        assert meaning, name
        assert remedy, name


def test_no_condition_begins_as_another_one() -> None:
    """Else an operator might find the wrong row."""
    begins_alike = [(one, other) for one in Condition for other in Condition if one != other and one.startswith(other)]
    assert begins_alike == []


def test_each_condition_is_said_somewhere() -> None:
    said = {
        node.attr
        for file in python_files("replicator")
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Condition"
    }
    assert said == set(Condition.__members__)


def test_whoever_tells_a_condition_takes_its_words_from_the_enumeration() -> None:
    """A probe says that the node is well, or begins with a condition; so does each note about a node."""
    texts = [text for file in TELLERS for text in texts_that_begin_a_condition(file)]
    assert len(texts) > 15
    assert [text for text in texts if not re.match(r"(; )?\{(Condition\.\w+|status\.snapshot_problem)\}", text)] == []


def texts_that_begin_a_condition(file: str) -> list[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        place = TEXT_OF.get(ast.unparse(call.func))
        if place is not None:
            found.append(as_template(call.args[place]))
    # What is joined to an answer: `missing = f"; ..." if ... else ""`
    found += [as_template(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) and is_joined(node)]
    return [text for text in found if not text.startswith(WELL) and text != "{node.snapshot_problem}"]


def is_joined(text: ast.JoinedStr) -> bool:
    first = text.values[0]
    return isinstance(first, ast.Constant) and str(first.value).startswith("; ")


def as_template(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
            for part in node.values
            if isinstance(part, ast.Constant | ast.FormattedValue)
        )
    return f"{{{ast.unparse(node)}}}"
