"""What a script of `replicator txn` means, and what it is told that means nothing."""

import pytest

from replicator.cli.txn_script import ScriptFlaw, parse_script
from replicator.model.transactions import Compare, Delete, Get, If, Operation, Put, Range, Transaction


def test_a_script_has_three_parts() -> None:
    script = 'mod("a") > "0"\nvalue("b") = "x y"\n\nput a 1\nget b\n\ndel a\n\n\n'
    assert parse_script(script) == Transaction(
        [If.mod_revision(b"a") > 0, If.value(b"b") == b"x y"], [Put(b"a", b"1"), Get(b"b")], [Delete(b"a")]
    )
    assert parse_script("\nput a 1\n") == Transaction([], [Put(b"a", b"1")], [])
    assert parse_script("") == parse_script("\n\n") == Transaction([], [], [])
    assert parse_script("\n\nget a").or_else == [Get(b"a")]


@pytest.mark.parametrize(
    ("line", "compare"),
    [
        ('version("a") = 0', If.version(b"a") == 0),
        ("ver(a)!=1", If.version(b"a") != 1),
        ('create("a") < "9"', If.create_revision(b"a") < 9),
        ('c("a") > -1', If.create_revision(b"a") > -1),
        ('m("a") = 3', If.mod_revision(b"a") == 3),
        ("val('a') = ''", If.value(b"a") == b""),
        ('value("a (1)") = "="', If.value(b"a (1)") == b"="),
        ('value("\u00e9") = "\u00e9"', If.value("\u00e9".encode()) == "\u00e9".encode()),
        ('exists("a")', If.exists(b"a")),
        ('missing("a/", "a0")', If.missing(Range(b"a/", b"a0"))),
        ('missing("", "")', If.missing(Range(b"", b""))),
    ],
)
def test_compares_are_those_of_etcdctl_and_some_more(line: str, compare: Compare) -> None:
    assert parse_script(line).compare == [compare]


@pytest.mark.parametrize(
    ("line", "operation"),
    [
        ("put 'a b' \"1 2\" --prev-kv", Put(b"a b", b"1 2", previous=True)),
        ("put -- -a -1", Put(b"-a", b"-1")),
        ("get a", Get(b"a")),
        ("get a b --limit 2", Get(Range(b"a", b"b"), limit=2)),
        ("get a --prefix --keys-only", Get(Range(b"a", b"b"), keys_only=True)),
        ("get '' --prefix --count-only", Get(Range(b"", b""), count_only=True)),
        ("del a b --prev-kv", Delete(Range(b"a", b"b"), previous=True)),
        ("del a", Delete(b"a")),
    ],
)
def test_operations_are_those_of_etcdctl(line: str, operation: Operation) -> None:
    assert parse_script(f"\n{line}").then == [operation]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("value(a)", "line 1: 'value(a)' compares with nothing"),
        ("value a = 1", "line 1: 'value a = 1' is no compare; write it as in"),
        ("size(a) = 1", "line 1: 'size' cannot be compared; what can: exists, missing, value, version, create, mod"),
        ("exists(a) = 1", "line 1: exists stands by itself"),
        ("version(a) = x", "line 1: 'x' is no number"),
        ("value(a b) = 1", "line 1: a key, or the first and the end of a range"),
        ('value("a) = 1', "line 1: '\"a': no closing quotation"),
        ("value(a) = 1 2", "line 1: 2 words where 1 operand belongs; quote blanks"),
        ("\nmove a b", "line 2: 'move' is no operation; there are put, get, del"),
        ("\nput a", "line 2: put"),
        ("\nget a --limit x", "line 2: get"),
        ("\nget a b --prefix", "line 2: END and --prefix exclude each other"),
        ("\nget a b c", "line 2: get"),
        ("\n\nget a\n\nget b", "line 4: is empty, after the third part"),
    ],
)
def test_a_script_that_means_nothing_is_refused_by_its_line(script: str, said: str) -> None:
    with pytest.raises(ScriptFlaw) as caught:
        parse_script(script)
    assert str(caught.value).startswith(said)
