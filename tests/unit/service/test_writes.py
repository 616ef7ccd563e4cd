"""Writes: outcomes become answers, refusals become errors, a repeated name is applied once."""

import pytest

from replicator.model.causal_token import CausalToken
from replicator.model.errors import InvalidArgument, SessionExpired
from replicator.model.limits import KEY_BYTES_MAX, SESSION_RESULTS_MAX, VALUE_BYTES_MAX
from replicator.service.validate import WriteId
from tests.support.memory_cluster import SCOPE, MemoryCluster, MemoryNode

CLIENT = b"c" * 16


def a_node() -> MemoryNode:
    return MemoryCluster().add("n1", "eu")


async def test_a_put_returns_its_revision_and_a_token_of_its_own_index() -> None:
    node = a_node()

    first = await node.writes().put(b"k", b"v", None, timeout_s=1.0)
    second = await node.writes().put(b"k", b"w", None, timeout_s=1.0)

    assert (first.revision, second.revision) == (1, 2)
    assert CausalToken.decode(second.token, SCOPE).index == 3


async def test_a_write_sent_again_under_its_name_is_applied_once_and_answered_alike() -> None:
    node = a_node()
    name = WriteId(CLIENT, 1, 1, 1)

    first = await node.writes().put(b"k", b"v", name, timeout_s=1.0)
    again = await node.writes().put(b"k", b"v", name, timeout_s=1.0)

    assert again == first
    assert node.replica.revision == 1


async def test_a_lost_comparison_returns_what_was_found() -> None:
    node = a_node()
    put = await node.writes().put(b"k", b"v", None, timeout_s=1.0)

    lost = await node.writes().compare_and_set(b"k", b"w", 99, None, timeout_s=1.0)
    won = await node.writes().compare_and_set(b"k", b"w", put.revision, None, timeout_s=1.0)
    absent = await node.writes().compare_and_set(b"other", b"w", 99, None, timeout_s=1.0)

    assert not lost.changed
    assert lost.current is not None
    assert (lost.current.value, lost.current.mod_revision) == (b"v", put.revision)
    assert (won.changed, won.current) == (True, None)
    assert (absent.changed, absent.current) == (False, None)


async def test_deleting_an_absent_key_changes_nothing() -> None:
    node = a_node()
    await node.writes().put(b"k", b"v", None, timeout_s=1.0)

    deleted = await node.writes().delete(b"k", None, timeout_s=1.0)
    again = await node.writes().delete(b"k", None, timeout_s=1.0)

    assert (deleted.changed, deleted.revision) == (True, 2)
    assert (again.changed, again.revision) == (False, 2)


async def test_a_refusal_of_the_state_machine_is_raised_as_its_type() -> None:
    """A client that the cluster does not know, yet that has older writes behind it, was forgotten."""
    with pytest.raises(SessionExpired):
        await a_node().writes().put(b"k", b"v", WriteId(CLIENT, 9, 9, 1), timeout_s=1.0)


@pytest.mark.parametrize(
    ("key", "value", "name", "field"),
    [
        (b"", b"", None, "key"),
        (b"k" * (KEY_BYTES_MAX + 1), b"", None, "key"),
        (b"k", b"v" * (VALUE_BYTES_MAX + 1), None, "value"),
        (b"k", b"", WriteId(b"short", 1, 1, 1), "write_id.client_id"),
        (b"k", b"", WriteId(CLIENT, 0, 0, 1), "write_id.sequence"),
        (b"k", b"", WriteId(CLIENT, 1, 0, 1), "write_id.oldest_pending"),
        (b"k", b"", WriteId(CLIENT, 1, 2, 1), "write_id.oldest_pending"),
        (b"k", b"", WriteId(CLIENT, SESSION_RESULTS_MAX + 1, 1, 1), "write_id.sequence"),
        (b"k", b"", WriteId(CLIENT, 1, 1, 0), "write_id.issued_ms"),
    ],
)
async def test_bad_input_is_refused_by_name_before_anything_is_proposed(
    key: bytes, value: bytes, name: WriteId | None, field: str
) -> None:
    node = a_node()

    with pytest.raises(InvalidArgument) as caught:
        await node.writes().put(key, value, name, timeout_s=1.0)

    assert caught.value.metadata["field"] == field
    assert field in caught.value.message
    assert len(node.cluster.log) == 1, "the first leader's own entry"


async def test_the_greatest_key_and_value_are_accepted() -> None:
    node = a_node()

    written = await node.writes().put(b"k" * KEY_BYTES_MAX, b"v" * VALUE_BYTES_MAX, None, timeout_s=1.0)

    assert written.changed
