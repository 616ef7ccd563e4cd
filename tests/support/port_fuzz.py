"""What a seed says to the API and the admin port: raw HTTP/2 frames, gRPC calls, HTTP/1, in any order and size.

Keys that it names begin with FORGED, or with that bent: what it writes by right is told from the pairs of others.
"""

import random
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from replicator.v1 import cluster_pb2, kv_pb2
from tests.support.bent_bytes import bent
from tests.support.raw_http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    grpc_message,
    headers,
    settings,
)  # fmt: skip

FORGED: Final = b"fuzz/"
KV, CLUSTER = "/replicator.v1.KVService", "/replicator.v1.ClusterService"
METHODS: Final[dict[str, type[Message]]] = {
    f"{KV}/Put": kv_pb2.PutRequest,
    f"{KV}/Delete": kv_pb2.DeleteRequest,
    f"{KV}/CompareAndSet": kv_pb2.CompareAndSetRequest,
    f"{KV}/Get": kv_pb2.GetRequest,
    f"{KV}/Scan": kv_pb2.ScanRequest,
    f"{KV}/Exchange": kv_pb2.BatchRequests,
    f"{CLUSTER}/Status": cluster_pb2.StatusRequest,
    "/grpc.health.v1.Health/Check": health_pb2.HealthCheckRequest,
    "/grpc.health.v1.Health/Watch": health_pb2.HealthCheckRequest,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": reflection_pb2.ServerReflectionRequest,
    "/replicator.v1.PeerService/Link": kv_pb2.GetRequest,  # which the API does not serve
    "/nothing": kv_pb2.GetRequest,
}
SIZES: Final = (0, 1, 9, 63, 16_384, 16_385, 70_000)
EXTREMES: Final = (0, 1, (1 << 31) - 1, (1 << 32) - 1, (1 << 63) - 1, (1 << 64) - 1)


@dataclass
class PortFuzz:
    """Draws what is said."""

    dice: random.Random

    def http2(self) -> list[bytes]:
        """Pieces of one connection, in the order in which they are sent."""
        dice = self.dice
        begin = dice.choices((PREFACE + settings(), PREFACE, b"", dice.randbytes(24)), weights=(12, 1, 1, 1))[0]
        pieces = [begin, *(self._frame() for _ in range(dice.randrange(1, 40)))]
        return [bent(self.dice, piece) if dice.random() < 0.05 else piece for piece in pieces]

    def call(self) -> tuple[str, list[bytes]]:
        """A method and the messages of a call: sound, bent, of another method, or random."""
        dice = self.dice
        method, kind = dice.choice(list(METHODS.items()))
        if dice.random() < 0.1:
            kind = dice.choice(list(METHODS.values()))
        return method, [self.message(kind) for _ in range(dice.choice((0, 1, 1, 1, 2, 5)))]

    def message(self, kind: type[Message]) -> bytes:
        descriptor: Any = kind.DESCRIPTOR
        raw = kind(**self._fields(descriptor, 3)).SerializeToString()
        match self.dice.randrange(6):
            case 0:
                return bent(self.dice, raw)
            case 1:
                return self.dice.randbytes(self.dice.choice(SIZES))
        return raw

    def http1(self) -> list[bytes]:
        """Pieces of a request to the admin port: whole, cut, bent, pipelined, endless, or with a body."""
        dice = self.dice
        path = dice.choice(
            ("/livez", "/readyz", "/metrics", "/", "/../etc", "/%00", "*", "http://x/livez", "/" + "x" * 9000)
        )
        verb = dice.choice(("GET", "HEAD", "POST", "PRI", "G\0T", "OPTIONS"))
        lines = [f"{verb} {path} HTTP/{dice.choice(('1.1', '1.0', '2.0', '9'))}", "host: x"]
        lines += dice.choices(
            ("transfer-encoding: chunked", "content-length: 5", "content-length: 99999999", "expect: 100-continue",
             "connection: close", "connection: upgrade", "upgrade: websocket", "x: " + "y" * 5000, ": a", "\x80: z"),
            k=dice.randrange(5),
        )  # fmt: skip
        request = "\r\n".join([*lines, "", ""]).encode("latin-1") * dice.choice((1, 1, 1, 20))
        request += dice.choice((b"", b"5\r\nhello\r\n0\r\n\r\n", b"hello", b"\xff" * 70_000))
        if dice.random() < 0.3:
            request = bent(self.dice, request)
        cut = dice.randrange(len(request) + 1)
        return [request[:cut], request[cut:]] if dice.random() < 0.7 else [request[:cut]]

    def _frame(self) -> bytes:
        dice = self.dice
        stream = dice.choice((0, 1, 3, 5, 7, 2, (1 << 31) - 1))
        method, kind = dice.choice(list(METHODS.items()))
        flags = dice.choice((0, END_STREAM, END_HEADERS, END_STREAM | END_HEADERS, 0xFF))
        match dice.randrange(13):
            case 0 | 1 | 2 | 3:
                return headers(stream, method, dice.choice((END_HEADERS, END_HEADERS, END_HEADERS | END_STREAM, flags)))
            case 4 | 5 | 6:
                body = grpc_message(self.message(kind))
                body = body if dice.random() < 0.7 else b"\0" + dice.choice(EXTREMES[:4]).to_bytes(4) + body
                return frame(DATA, dice.choice((0, END_STREAM)), stream, body[: 1 << 14])
            case 7:
                pairs = [(dice.randrange(1, 10), dice.choice(EXTREMES[:4])) for _ in range(dice.randrange(5))]
                return settings(*pairs)
            case 8:
                return frame(PING, dice.choice((0, ACK)), stream if dice.random() < 0.1 else 0, dice.randbytes(8))
            case 9:
                return frame(WINDOW_UPDATE, 0, stream, dice.choice(EXTREMES[:4]).to_bytes(4))
            case 10:
                return frame(RST_STREAM, 0, stream, dice.randbytes(4))
            case 11:
                kind_number = dice.choice((CONTINUATION, GOAWAY, SETTINGS, HEADERS, 2, 5, 77))
                return frame(kind_number, flags, stream, dice.randbytes(dice.choice(SIZES[:5])))
        extra = tuple(
            ("x" * dice.choice((1, 9, 120)), "y" * dice.choice((0, 9, 126))) for _ in range(dice.randrange(90))
        )
        return headers(stream, method, END_HEADERS, extra)

    def _fields(self, descriptor: Descriptor, depth: int) -> dict[str, Any]:
        return {
            field.name: self._values(field, depth - 1)
            for field in descriptor.fields
            if self.dice.random() < 0.6 and (depth > 0 or field.message_type is None)
            and (field.containing_oneof is None or self.dice.random() < 0.5)
        }  # fmt: skip

    def _values(self, field: FieldDescriptor, depth: int) -> Any:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return {"x" * self.dice.randrange(5): "y"}
        if field.is_repeated:
            return [self._value(field, depth) for _ in range(self.dice.choice((0, 1, 2, 70)))]
        return self._value(field, depth)

    def _value(self, field: FieldDescriptor, depth: int) -> Any:
        dice = self.dice
        if field.message_type is not None:
            return self._fields(field.message_type, depth)
        if field.type == field.TYPE_BOOL:
            return dice.random() < 0.5
        if field.type == field.TYPE_STRING:
            return dice.choice(("", "a", "a\nb\x1b[31m", "x" * 3000))
        if field.type == field.TYPE_BYTES:
            tail = dice.randbytes(dice.choice((0, 1, 5000)))
            return FORGED + tail if "key" in field.name else dice.choice((b"", bytes(16), tail))
        if field.type == field.TYPE_ENUM:
            return dice.randrange(6)
        bits = {field.TYPE_UINT32: 32, field.TYPE_INT32: 31, field.TYPE_INT64: 63}.get(field.type, 64)
        return dice.choice((0, 1, dice.randrange(12), dice.choice(EXTREMES))) & ((1 << bits) - 1)
