"""Payload bytes, and the two fingerprints."""

import pytest

from replicator.machine.codec import NO_OP_PAYLOAD, decode_batch, decode_entry, encode_entry, is_no_op
from replicator.machine.digest import state_hash
from tests.support.commands import put


def test_an_entry_comes_back_as_it_went_in() -> None:
    payload = encode_entry(123, [b"one", b"", put(b"k")])
    entry = decode_entry(payload)

    assert payload[0] == 0
    assert entry is not None
    assert (entry.time_ms, list(entry.batches)) == (123, [b"one", b"", put(b"k")])
    assert not is_no_op(payload)


@pytest.mark.parametrize("payload", [b"", NO_OP_PAYLOAD, b"\x02", b"\x00\xff"])
def test_what_is_no_entry_of_batches_decodes_to_none(payload: bytes) -> None:
    assert decode_entry(payload) is None


def test_a_batch_that_does_not_decode_is_none() -> None:
    assert decode_batch(b"\xff") is None


def test_the_payload_of_an_entry_is_fixed_for_this_format() -> None:
    """Nodes of two releases share a log: these bytes may only change together with the format version."""
    assert encode_entry(5, [b"ab"]).hex() == "0008051a026162"


def test_the_state_hash_is_fixed_for_this_format_and_sees_every_field() -> None:
    pair = (b"k", b"v", 1, 2, 3)
    others = [(b"l", b"v", 1, 2, 3), (b"k", b"w", 1, 2, 3), (b"k", b"v", 0, 2, 3), (b"k", b"v", 1, 3, 3)]
    others += [(b"k", b"v", 1, 2, 4), (b"kv", b"", 1, 2, 3)]

    assert state_hash([]) == "cae66941d9efbd404e4d88758ea67670"
    assert len({state_hash([each]) for each in [pair, *others]}) == 7
