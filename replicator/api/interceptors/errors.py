"""Turns whatever a call ends with into a status: the error family by its table, anything else into Internal."""

import asyncio
import logging
from typing import Any

import grpc.aio

from replicator.api.context import Context
from replicator.api.grpc_status import error_trailers, short, status_code
from replicator.api.interceptors.unary import Handler, UnaryInterceptor
from replicator.model.errors import Internal, ReplicatorError

_log = logging.getLogger(__name__)


class ErrorsInterceptor(UnaryInterceptor):
    """The border: nothing of an unexpected error reaches the caller besides that it happened."""

    async def around(self, method: str, call: Handler, request: Any, context: Context) -> Any:
        try:
            return await call(request, context)
        except ReplicatorError as error:
            failure = error
        except grpc.aio.AbortError:
            raise
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise  # the caller has gone, or the server stops: gRPC ends the call
            # A future below was cancelled, not this call: unanswered, the caller would wait for its whole deadline.
            failure = _unexpected(method, error)
        except Exception as error:  # noqa: BLE001, RUF100  # the border, see above
            failure = _unexpected(method, error)
        return await context.abort(status_code(failure), short(failure.message), error_trailers(failure))


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _unexpected(method: str, error: BaseException) -> ReplicatorError:
    _log.error("%s ended unexpectedly", method, exc_info=error)
    return Internal("a bug ended this call; the log of the node says more", metadata={"method": method})
