"""gRPC options of a long link, each with its reason. Names are those that C-core 1.85 reads.

C-core ignores an unknown option in silence; `tests/unit/transport/test_options.py` looks each one up in the library.
"""

from collections.abc import Sequence
from typing import Final

import grpc

from replicator.model.ids import NodeId
from replicator.transport.handshake.node_certificates import PeerCredentials
from replicator.transport.ports import FRAME_BYTES_MAX
from replicator.transport.settings import TransportSettings

Options = Sequence[tuple[str, int | str]]

ENVELOPE_BYTES_MAX: Final = 64  # of a LinkMessage around a frame: one tag and one length
WRITE_BUFFER_BYTES: Final = 1 << 20
HTTP2_FRAME_BYTES: Final = 1 << 20
SERVER_STREAMS_MAX: Final = 4  # a peer uses one; the rest lets a replacement overlap the old one
IDLE_CONNECTION_MS: Final = 30_000


def open_channel(
    settings: TransportSettings, peer: NodeId, address: str, credentials: PeerCredentials | None
) -> grpc.aio.Channel:
    """A channel to `address` with a connection of its own, which must show the peer's certificate if there is TLS."""
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=channel_options(settings, target_name=None))
    options = channel_options(settings, target_name=credentials.name_of(peer))
    return grpc.aio.secure_channel(address, credentials.now(), options=options)


def channel_options(settings: TransportSettings, *, target_name: str | None) -> Options:
    """For one dial. target_name: whose certificate to expect, None without TLS."""
    options: list[tuple[str, int | str]] = [
        *_common(settings),
        # A fresh channel per attempt with its own connection: no shared subchannel whose backoff outlives a heal.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),  # would keep sent bytes for a replay that a half-read stream can never have
        ("grpc.enable_http_proxy", 0),  # a proxy meant for the web must not carry the log
    ]
    if target_name is not None:
        options.append(("grpc.ssl_target_name_override", target_name))
    return options


def server_options(settings: TransportSettings) -> Options:
    """For the peer port."""
    return [
        *_common(settings),
        # Linux lets two processes share a port otherwise, and each gets half of the peers.
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", SERVER_STREAMS_MAX),
        # A connection that never finishes TLS or HTTP/2 set-up, or never opens a stream, is closed.
        ("grpc.server_handshake_timeout_ms", _ms(settings.timers.hello_s)),
        ("grpc.max_connection_idle_ms", IDLE_CONNECTION_MS),
        # Without this the server counts frequent keepalive pings as abuse (limit: one in 5 min) and hangs up.
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(settings.timers.keepalive_time_s) // 2),
    ]


def _common(settings: TransportSettings) -> Options:
    return [
        ("grpc.max_send_message_length", FRAME_BYTES_MAX + ENVELOPE_BYTES_MAX),
        ("grpc.max_receive_message_length", FRAME_BYTES_MAX + ENVELOPE_BYTES_MAX),
        # Stream window, from which C-core derives the connection window. 64 KiB, the default, over 100 ms is 0.6 MB/s.
        ("grpc.http2.lookahead_bytes", settings.window_bytes),
        # Fixed windows: the bandwidth estimator would start small after each reconnect, and shrink them when idle.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.max_frame_size", HTTP2_FRAME_BYTES),
        # What a write may leave in C-core before it blocks; more only hides bytes from our own bounded queue.
        ("grpc.http2.write_buffer_size", WRITE_BUFFER_BYTES),
        # Silence kills the link; C-core also derives TCP_USER_TIMEOUT (Linux) from the keepalive timeout.
        ("grpc.keepalive_time_ms", _ms(settings.timers.keepalive_time_s)),
        ("grpc.keepalive_timeout_ms", _ms(settings.timers.keepalive_timeout_s)),
        # The timer that ends a connection whose ping stays unanswered; its own default of 60 s would win otherwise.
        ("grpc.http2.ping_timeout_ms", _ms(settings.timers.keepalive_timeout_s)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),  # no limit: an idle link is pinged for ever
    ]


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
