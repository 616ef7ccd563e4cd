"""Random transactions over a handful of keys, so that compares meet what writes wrote."""

from hypothesis import strategies as st

from replicator.model.transactions import Compare, Delete, Get, Put, Range, Relation, Target, Transaction

LONG = b"l" * 450  # stored under a digest, as the next two are
KEYS = (b"a", b"a\x00", b"ab", b"b", b"\xff", LONG, LONG + b"1", b"l" * 400 + b"0")

keys = st.sampled_from(KEYS)
ranges = st.builds(Range, keys | st.just(b""), keys | st.just(b""))
targets = keys | ranges
values = st.sampled_from([b"", b"1", b"2", b"x" * 500])
relations = st.sampled_from(list(Relation))
compares = st.builds(Compare, targets, st.just(Target.VALUE), relations, values) | st.builds(
    Compare,
    targets,
    st.sampled_from([Target.VERSION, Target.CREATE_REVISION, Target.MOD_REVISION]),
    relations,
    st.integers(-1, 12),
)
single = (
    st.builds(Put, keys, values, st.booleans())
    | st.builds(Put, keys, values, st.booleans())
    | st.builds(Get, targets, st.integers(0, 3), st.booleans(), st.booleans())
    | st.builds(Delete, targets, st.booleans())
)
_few_compares = st.lists(compares, max_size=2)


def _containing(operations: st.SearchStrategy[object]) -> st.SearchStrategy[Transaction]:
    branch = st.lists(operations, max_size=4)
    return st.builds(Transaction, _few_compares, branch, branch)


transactions: st.SearchStrategy[Transaction] = _containing(single | _containing(single | _containing(single)))

# Transactions that write, delete and look at all of it, and whether the history is compacted after each.
plain = st.builds(Put, keys, values) | st.builds(Delete, keys) | st.just(Get(Range(b""), count_only=True))
courses = st.lists(
    st.tuples(st.builds(Transaction, st.just(()), st.lists(plain, max_size=3)) | transactions, st.booleans()),
    min_size=4,
    max_size=10,
)
