"""The use case of transactions, over a log in memory."""

import pytest

from replicator.client.transaction_messages import transaction_message
from replicator.model.causal_token import CausalToken
from replicator.model.errors import InvalidArgument, OutcomeUnknown, SessionExpired
from replicator.model.transactions import Get, If, Put, Range, Transaction
from replicator.service.transact import TransactService
from replicator.service.validate import WriteId
from replicator.service.write_batch import BatchWritten, WriteColumns
from replicator.v1 import kv_pb2
from tests.support.memory_cluster import CLOCK, SCOPE, MemoryCluster, MemoryNode

PUT, TRANSACTION = kv_pb2.WRITE_KIND_PUT, kv_pb2.WRITE_KIND_TRANSACTION
NOTHING = kv_pb2.Transaction(then=[kv_pb2.Operation()])
COUNT = transaction_message(Transaction([If.missing(b"k")], [Put(b"k", b"1")], [Get(b"k")]))


def a_node() -> MemoryNode:
    return MemoryCluster().add("n1", "eu")


async def test_the_result_has_a_token_that_covers_it_and_a_retry_says_that_it_is_one() -> None:
    node = a_node()
    first = await TransactService(node, CLOCK).run(COUNT, WriteId(b"c" * 16, 1, 1, 1), timeout_s=5.0)
    again = await TransactService(node, CLOCK).run(COUNT, WriteId(b"c" * 16, 1, 1, 1), timeout_s=5.0)
    assert CausalToken.decode(first.token, SCOPE).index == node.applied_index - 1
    other = await TransactService(node, CLOCK).run(COUNT, WriteId(b"c" * 16, 2, 2, 1), timeout_s=5.0)

    assert (first.result.succeeded, first.revision, first.duplicate) == (True, 1, False)
    assert (again.result, again.token, again.duplicate) == (first.result, first.token, True)
    assert (other.result.succeeded, other.result.results[0].pairs[0].value, other.revision) == (False, b"1", 1)


async def test_what_the_log_answers_is_what_the_caller_gets() -> None:
    node = a_node()
    node.raises.append(OutcomeUnknown("?"))
    with pytest.raises(OutcomeUnknown):
        await TransactService(node, CLOCK).run(COUNT, None, timeout_s=5.0)
    with pytest.raises(SessionExpired) as caught:
        await TransactService(node, CLOCK).run(COUNT, WriteId(b"d" * 16, 9, 9, 1), timeout_s=5.0)
    assert "log_time_ms" in caught.value.metadata
    refused = transaction_message(Transaction(then=[Put(b"k", b""), Put(b"k", b"")]))
    with pytest.raises(InvalidArgument, match="duplicate") as shape:
        await TransactService(node, CLOCK).run(refused, None, timeout_s=5.0)
    assert shape.value.metadata["field"] == "then[1].put.key"
    empty = transaction_message(Transaction(then=[Get(Range(b"b", b"a"))]))
    with pytest.raises(InvalidArgument, match=r"then\[0\].get.range.end is not after start"):
        await TransactService(node, CLOCK).run(empty, None, timeout_s=5.0)


async def write(node: MemoryNode, batch: WriteColumns) -> BatchWritten:
    return await node.writes().write_batch(batch, timeout_s=5.0)


async def test_transactions_of_a_batch_have_their_place_among_its_writes() -> None:
    node = a_node()
    kinds, transactions = [TRANSACTION, PUT, TRANSACTION, PUT], [COUNT, COUNT]
    batch = WriteColumns(b"c" * 16, 1, 1, 1, kinds, [b"k", b"z"], [b"2", b"3"], (), transactions)
    written = await write(node, batch)
    assert (written.revisions, written.unchanged, written.duplicate) == ([1, 2, 2, 3], [2], False)
    assert [(at, result.succeeded) for at, result in written.transacted] == [(0, True), (2, False)]
    assert (await write(node, batch)).duplicate


@pytest.mark.parametrize(
    ("batch", "field", "position"),
    [
        (WriteColumns(b"", 0, 0, 0, [TRANSACTION], [], [], ()), "transactions", None),
        (WriteColumns(b"", 0, 0, 0, [TRANSACTION], [b"k"], [], (), [COUNT]), "kinds", None),
        (WriteColumns(b"", 0, 0, 0, (), [b"k"], [b""], (), [COUNT]), "transactions", None),
        (WriteColumns(b"", 0, 0, 0, [TRANSACTION, PUT], [b""], [b""], (), [COUNT]), "key", "1"),
        (WriteColumns(b"", 0, 0, 0, [PUT, TRANSACTION], [b"k"], [b""], (), [NOTHING]), "then[0]", "1"),
    ],
)  # fmt: skip
async def test_columns_that_do_not_fit_are_refused_by_field_and_position(
    batch: WriteColumns, field: str, position: str | None
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await write(a_node(), batch)
    assert (caught.value.metadata["field"], caught.value.metadata.get("position")) == (field, position)
