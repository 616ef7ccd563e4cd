"""gRPC options: C-core ignores an unknown one in silence, so each must be in the library."""

from pathlib import Path

import grpc

from replicator.transport.options import channel_options, server_options
from replicator.transport.ports import FRAME_BYTES_MAX
from tests.support.links import peers_of

SETTINGS = peers_of("n1", {"n2": 1}).settings


def test_every_option_is_one_that_this_grpc_reads() -> None:
    (core,) = (Path(grpc.__file__).parent / "_cython").glob("cygrpc*.so")
    library = core.read_bytes()
    options = [*channel_options(SETTINGS, target_name="n2"), *server_options(SETTINGS)]
    assert [name for name, _ in options if name.encode() + b"\0" not in library] == []


def test_the_largest_frame_fits_a_message_on_both_sides() -> None:
    for options in (dict(channel_options(SETTINGS, target_name=None)), dict(server_options(SETTINGS))):
        for direction in ("send", "receive"):
            assert int(options[f"grpc.max_{direction}_message_length"]) > FRAME_BYTES_MAX + 10


def test_a_certificate_is_expected_to_name_the_peer_only_with_tls() -> None:
    assert dict(channel_options(SETTINGS, target_name="n2"))["grpc.ssl_target_name_override"] == "n2"
    assert "grpc.ssl_target_name_override" not in dict(channel_options(SETTINGS, target_name=None))
