"""Plain technical English: words of which a reader must stop to ask what they mean do not come back."""

import re
import subprocess

from tests.house.source import ROOT

INSTEAD = {
    r"who(m)?ever": "any node that, callers that",
    r"wish(es|ed)?": "request",
    r"errands?": "task",
    r"hire[sd]?": "add a node; task",
    r"heirs?": "target, successor, next leader",
    r"strangers?": "unknown node",
    r"burdens?": "load",
    r"kept out|keeps? out": "reject",
    r"(is|be|are|was|were|not) let in|lets? in": "accept",
    r"so already": "settings that already match",
    r"is at it": "say what it does",
    r"in doubt for": "say what is assumed",
    r"shall": "is to, must, or the present tense",
}
ALLOWED = {
    "tests/house/test_plain_words.py": r".*",
}
BANNED = re.compile(rf"\b({'|'.join(INSTEAD)})\b", re.IGNORECASE)


def is_allowed(name: str, word: str) -> bool:
    return any(name.startswith(place) and re.fullmatch(words, word, re.I) for place, words in ALLOWED.items())


def test_words_that_stop_a_reader_do_not_come_back() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "*.py", "*.md", "*.proto"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    found = []
    for name in filter(None, tracked.split("\0")):
        if name.startswith("replicator/v1/") or not (ROOT / name).is_file():
            continue
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1):
            found += [
                f"{name}:{number}: {match.group()}"
                for match in BANNED.finditer(line)
                if not is_allowed(name, match.group())
            ]
    assert found == [], f"say it in one of these words: {INSTEAD}"


def test_every_exception_is_still_needed() -> None:
    for place, words in ALLOWED.items():
        files = [ROOT / place] if (ROOT / place).is_file() else sorted((ROOT / place).rglob("*.*"))
        texts = "\n".join(file.read_text(encoding="utf-8", errors="ignore") for file in files if file.is_file())
        assert re.search(rf"\b{words}\b", texts, re.I), f"{place}: {words} does not stand there any more"
