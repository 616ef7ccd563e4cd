"""What a client refuses before it connects anywhere."""

import inspect
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import replicator
from replicator.model.errors import InvalidArgument
from replicator.model.values import prefix_end


@pytest.mark.parametrize("endpoints", [[], ["nonsense"], ["host:"], [":1"], ["host:0"], ["host:70000"], ["h:1"] * 0])
def test_endpoints_must_be_addresses(endpoints: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="endpoint"):
        replicator.connect(endpoints)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, math.inf, math.nan])
def test_a_call_has_a_finite_deadline(timeout_s: float) -> None:
    with pytest.raises(InvalidArgument, match="timeout_s"):
        replicator.connect(["127.0.0.1:1"], timeout_s=timeout_s)


@pytest.mark.parametrize(
    ("prefix", "end"), [(b"a", b"b"), (b"a\xff", b"b"), (b"\xff\xff", b""), (b"", b""), (b"a\x00", b"a\x01")]
)
def test_a_prefix_ends_before_the_first_key_that_does_not_have_it(prefix: bytes, end: bytes) -> None:
    assert prefix_end(prefix) == end


def test_a_missing_certificate_file_is_named() -> None:
    with pytest.raises(InvalidArgument, match=r"tls\.ca_file"):
        replicator.ClientTls("/nowhere/ca.pem").credentials()


def test_a_key_without_its_certificate_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="come together"):
        replicator.ClientTls("/nowhere/ca.pem", key_file="/nowhere/key.pem").credentials()


_CALLS: dict[str, Callable[[replicator.Client, Any], Awaitable[object]]] = {
    "put key": lambda client, given: client.put(given, b"v"),
    "put value": lambda client, given: client.put(b"k", given),
    "delete key": lambda client, given: client.delete(given),
    "compare_and_set key": lambda client, given: client.compare_and_set(given, b"v", if_revision=0),
    "compare_and_set value": lambda client, given: client.compare_and_set(b"k", given, if_revision=0),
    "get key": lambda client, given: client.get(given),
    "scan prefix": lambda client, given: _all(client.scan(prefix=given)),
    "scan start": lambda client, given: _all(client.scan(start=given)),
    "scan end": lambda client, given: _all(client.scan(end=given)),
    "scan_pages prefix": lambda client, given: _all(client.scan_pages(prefix=given)),
    "scan_pages start": lambda client, given: _all(client.scan_pages(start=given)),
    "scan_pages end": lambda client, given: _all(client.scan_pages(end=given)),
    "set_member directory_id": lambda client, given: client.set_member(
        "n", region="r", peer_address="h:1", api_address="h:2", role="voter", directory_id=given
    ),
}


@pytest.mark.parametrize("given", [None, "text", 7, bytearray(b"x")], ids=repr)
@pytest.mark.parametrize("name", _CALLS)
async def test_a_bytes_argument_of_another_type_is_named_and_nothing_is_sent(name: str, given: object) -> None:
    field = name.split()[1]
    async with replicator.connect("127.0.0.1:1", timeout_s=30.0) as client:
        with pytest.raises(InvalidArgument, match=f"^{field} must be bytes, not ") as caught:
            await _CALLS[name](client, given)
    assert caught.value.metadata["field"] == field


def test_every_bytes_argument_of_the_client_is_tried_above() -> None:
    """A method that gets one more cannot forget the check."""
    taken = {
        f"{method} {parameter.name}"
        for method, function in inspect.getmembers(replicator.Client, inspect.isfunction)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.annotation is bytes
    }
    assert taken == set(_CALLS)


_WRONG: list[tuple[str, dict[str, Any]]] = [
    ("consistency", {"consistency": "local"}),
    ("token", {"token": b"token"}),
    ("token", {"token": ["token"]}),
    ("max_staleness_ms", {"max_staleness_ms": 1.5}),
    ("max_staleness_ms", {"max_staleness_ms": True}),
    ("timeout_s", {"timeout_s": "5"}),
]


@pytest.mark.parametrize(("field", "given"), _WRONG, ids=repr)
async def test_another_argument_of_a_wrong_type_is_named_too(field: str, given: dict[str, Any]) -> None:
    async with replicator.connect("127.0.0.1:1") as client:
        with pytest.raises(InvalidArgument, match=field):
            await client.get(b"k", **given)
        with pytest.raises(InvalidArgument, match=field):
            await _all(client.scan(**given))


@pytest.mark.parametrize("endpoints", [None, [None], [b"127.0.0.1:1"], [["127.0.0.1:1"]]], ids=repr)
def test_endpoints_of_a_wrong_type_are_refused(endpoints: Any) -> None:
    with pytest.raises(InvalidArgument, match="endpoints"):
        replicator.connect(endpoints)


async def _all(pairs: AsyncIterator[object]) -> list[object]:
    return [pair async for pair in pairs]
