"""One span and one duration per call.

Knows the OpenTelemetry API only; without an SDK, a call costs two readings of the clock.
Attribute names are those of the RPC semantic conventions (release candidate, 2026).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from replicator.api.context import Context
from replicator.api.interceptors.unary import Handler, UnaryInterceptor
from replicator.model.observe import Observer, Signal

_NAME_OF_CODE: Final[dict[object, str]] = {key: code.name for code in grpc.StatusCode for key in (code, code.value[0])}
# What the conventions count as an error of the server; the others are answers.
_SERVER_FAULTS: Final = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)


class TraceInterceptor(UnaryInterceptor):
    """Outermost, so that refusals count, too."""

    def __init__(self, observer: Observer) -> None:
        super().__init__()
        self._observer = observer
        self._tracer = trace.get_tracer("replicator.api")

    async def around(self, method: str, call: Handler, request: Any, context: Context) -> Any:
        started_s = time.monotonic()
        code = "CANCELLED"  # stays, if neither an answer nor a status comes of it
        with self._span(method, context) as span:
            try:
                answer = await call(request, context)
                code = "OK"
                return answer
            except grpc.aio.AbortError:
                code = _NAME_OF_CODE.get(context.code(), "UNKNOWN")
                raise
            finally:
                self._observer.record(Signal.CALL_S, time.monotonic() - started_s, method=method, code=code)
                if span.is_recording():
                    _describe_end(span, code)

    @contextmanager
    def _span(self, method: str, context: Context) -> Iterator[trace.Span]:
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):  # no SDK is configured
            yield trace.INVALID_SPAN
            return
        pairs = context.invocation_metadata() or ()
        carrier = {name: value for name, value in pairs if isinstance(value, str)}
        with self._tracer.start_as_current_span(
            method.removeprefix("/"),
            context=propagate.extract(carrier),
            kind=SpanKind.SERVER,
            attributes={"rpc.system.name": "grpc", "rpc.method": method.removeprefix("/")},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span


def _describe_end(span: trace.Span, code: str) -> None:
    span.set_attribute("rpc.response.status_code", code)
    if code in _SERVER_FAULTS:
        span.set_attribute("error.type", code)
        span.set_status(Status(StatusCode.ERROR))
