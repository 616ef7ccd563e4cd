"""Payload bytes, and the two fingerprints."""

import pytest

from replicator.machine.codec import NO_OP_PAYLOAD, decode_batch, decode_command, encode_batch, is_no_op
from replicator.machine.digest import state_hash
from tests.support.commands import put


def test_a_batch_comes_back_as_it_went_in() -> None:
    payload = encode_batch(123, [b"one", b"", put(b"k")])
    batch = decode_batch(payload)

    assert payload[0] == 0
    assert batch is not None
    assert (batch.time_ms, list(batch.commands)) == (123, [b"one", b"", put(b"k")])
    assert not is_no_op(payload)


@pytest.mark.parametrize("payload", [b"", NO_OP_PAYLOAD, b"\x02", b"\x00\xff"])
def test_what_is_not_a_batch_decodes_to_none(payload: bytes) -> None:
    assert decode_batch(payload) is None


def test_a_command_that_does_not_decode_is_none() -> None:
    assert decode_command(b"\xff") is None


def test_the_payload_of_a_batch_is_fixed_for_this_format() -> None:
    """Nodes of two releases share a log: these bytes may only change together with the format version."""
    assert encode_batch(5, [b"ab"]).hex() == "00080512026162"


def test_the_state_hash_is_fixed_for_this_format_and_sees_every_field() -> None:
    pair = (b"k", b"v", 1, 2, 3)
    others = [(b"l", b"v", 1, 2, 3), (b"k", b"w", 1, 2, 3), (b"k", b"v", 0, 2, 3), (b"k", b"v", 1, 3, 3)]
    others += [(b"k", b"v", 1, 2, 4), (b"kv", b"", 1, 2, 3)]

    assert state_hash([]) == "cae66941d9efbd404e4d88758ea67670"
    assert len({state_hash([each]) for each in [pair, *others]}) == 7
