"""Whatever is refused is found by its reason in operating.md, with what to do."""

import ast
import re

from replicator.certificates.explaining import OF_THE_OTHER, why_tls_failed
from replicator.client.no_connection import MEANING, why_no_connection
from replicator.core.admission import Admission
from replicator.model.errors import ERROR_OF_REASON
from tests.docs.pages import ROOT, read, table

_CODE = re.compile(r"`([^`]+)`")
PAGE = "docs/operating.md"


def told(first_column: str) -> list[str]:
    """The reasons in the first column of the table of the page that begins so."""
    return [reason for row in table(PAGE, first_column) for reason in _CODE.findall(row[0])]


def test_each_reason_for_which_no_connection_comes_about_is_told() -> None:
    said = [
        *(why_no_connection(text, "x", None) for text in MEANING),
        *(why_tls_failed(text, name="x", own_flaw=None, has_own=True) or "" for text, _ in OF_THE_OTHER),
        *(why_tls_failed("Socket closed", name="x", own_flaw=None, has_own=has_own) or "" for has_own in (False, True)),
    ]
    reasons = told("the caller reads")
    assert len(set(said)) > 10
    assert [text for text in said if not any(reason in text for reason in reasons)] == []


def test_each_error_is_told_with_what_to_do() -> None:
    assert set(told("error")) == set(ERROR_OF_REASON)


def test_each_reason_of_a_refused_link_is_told() -> None:
    tree = ast.parse((ROOT / "replicator/transport/handshake/verdicts.py").read_text(encoding="utf-8"))
    tree.body += ast.parse((ROOT / "replicator/transport/handshake/node_certificates.py").read_text()).body
    built = {
        call.args[0].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Refused" and call.args
        if isinstance(call.args[0], ast.Constant)
    }
    assert len(built) > 5
    assert built | {str(reason) for reason in Admission} == set(told("the reason"))


def test_each_problem_of_a_token_is_told() -> None:
    assert all(f"`{problem}`" in read(PAGE) for problem in ("malformed", "old_release", "foreign"))
