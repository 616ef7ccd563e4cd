"""What is said to etcd, and that three of it come and go."""

import os
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import etcd_kv
from benchmarks.etcd import etcd_cluster, etcd_version
from benchmarks.subjects import BareEtcd, check_round_trip


def _message(name: str, **fields: int) -> type[message.Message]:
    """A message with these fields as protobuf itself encodes it. bytes, but for `serializable` and `version`."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="bench", syntax="proto3")
    described = file.message_type.add(name=name)
    for field, number in fields.items():
        kind = {"serializable": kinds.TYPE_BOOL, "version": kinds.TYPE_INT64}.get(field, kinds.TYPE_BYTES)
        described.field.add(name=field, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"bench.{name}"))


PUT = _message("PutRequest", key=1, value=2)
RANGE = _message("RangeRequest", key=1, serializable=7)
PAIR = _message("KeyValue", key=1, version=4, value=5)
RESPONSE = _message("RangeResponse", header=1, kvs=2)


@given(st.binary(min_size=1, max_size=300), st.binary(min_size=1, max_size=20_000), st.booleans())
def test_requests_are_encoded_as_protobuf_encodes_them(key: bytes, value: bytes, serializable: bool) -> None:
    assert etcd_kv.put_request(key, value) == PUT(key=key, value=value).SerializeToString()
    expected = RANGE(key=key, serializable=serializable).SerializeToString()
    assert etcd_kv.range_request(key, serializable=serializable) == expected


@given(st.binary(max_size=300), st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_the_value_is_found_between_fields_that_mean_nothing_here(value: bytes, version: int) -> None:
    pair = PAIR(key=b"k", version=version, value=value).SerializeToString()
    assert etcd_kv.first_value(RESPONSE(header=b"\x08\x01", kvs=pair).SerializeToString()) == value
    assert etcd_kv.first_value(RESPONSE(header=b"\x08\x01").SerializeToString()) is None


def test_a_response_that_is_cut_off_is_refused() -> None:
    with pytest.raises(ValueError, match="a field of 5 bytes"):
        etcd_kv.first_value(b"\x12\x05abc")


@pytest.mark.process
@pytest.mark.skipif(etcd_version() is None, reason="etcd is not installed")
async def test_three_etcds_store_what_they_are_given_and_are_gone_afterwards(tmp_path: Path) -> None:
    async with etcd_cluster(tmp_path) as cluster, BareEtcd(cluster.leader, cluster.pids) as subject:
        assert cluster.leader in cluster.endpoints
        await check_round_trip(subject)
        assert await subject.get_local(b"absent") is None
    for pid in cluster.pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
