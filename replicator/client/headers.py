"""The token of a context in the headers of messages: of HTTP, of queues, of gRPC's metadata.

So that a service which is called reads what its caller has read and written, and the caller what it did, while neither
passes a token by hand. In each handler, `Client.session()` goes on from the context's token.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import ExitStack
from typing import Any, Protocol, TypeAlias

from replicator.client.causality import Causality, carried, current
from replicator.model.causal_token import TOKEN_HEADER
from replicator.model.errors import InvalidToken

_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]
_App: TypeAlias = Callable[[_Message, _Receive, _Send], Awaitable[None]]


class HasHeaders(Protocol):
    """A request or a response of httpx."""

    @property
    def headers(self) -> MutableMapping[str, str]: ...


def inject(headers: MutableMapping[str, str]) -> None:
    """Adds the context's token, if there is one, for the one who gets the message."""
    causality = current()
    if causality is not None and causality.token is not None:
        headers[TOKEN_HEADER] = causality.token


def observe(headers: Mapping[str, str]) -> None:
    """The context's sessions read what the sender of these headers has seen. Without a context, does nothing.

    Raises InvalidToken for what is no token, or of another group than those observed before.
    """
    causality, token = current(), _token_in(headers.items())
    if causality is not None and token is not None:
        causality.observe(token)


def httpx_hooks() -> dict[str, list[Callable[[HasHeaders], None]]]:
    """`httpx.Client(event_hooks=httpx_hooks())`: requests carry the context's token, responses move it on."""
    return {"request": [lambda request: inject(request.headers)], "response": [lambda answer: observe(answer.headers)]}


def httpx_async_hooks() -> dict[str, list[Callable[[HasHeaders], Awaitable[None]]]]:
    """`httpx.AsyncClient(event_hooks=httpx_async_hooks())`."""

    async def on_request(request: HasHeaders) -> None:
        inject(request.headers)

    async def on_response(answer: HasHeaders) -> None:
        observe(answer.headers)

    return {"request": [on_request], "response": [on_response]}


class AsgiMiddleware:
    """Around an ASGI application: each request has a context of its own, which begins as its header says.

    The response carries the token as it is when the response begins. A header that is no token is answered by 400: to
    ignore it would be to read older data in silence.
    """

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """As ASGI 3 has it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        sent = _token_in((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        with ExitStack() as stack:
            try:
                causality = stack.enter_context(carried(sent))
            except InvalidToken as error:
                await _refuse(scope, send, f"{TOKEN_HEADER}: {error.message}\n")
                return
            await self._app(scope, receive, _with_token(send, causality))


def _with_token(send: _Send, causality: Causality) -> _Send:
    async def send_with_token(message: _Message) -> None:
        if message["type"] in ("http.response.start", "websocket.accept") and causality.token is not None:
            header = (TOKEN_HEADER.encode(), causality.token.encode())
            message = {**message, "headers": [*message.get("headers", ()), header]}
        await send(message)

    return send_with_token


def _token_in(headers: Iterable[tuple[str, str]]) -> str | None:
    return next((value for name, value in headers if name.lower() == TOKEN_HEADER), None)


async def _refuse(scope: _Message, send: _Send, text: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": text[:120]})
        return
    body = text.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body})
