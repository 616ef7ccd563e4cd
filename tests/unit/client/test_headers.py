"""Tokens in headers: taken from a request, given with its response, and refused if they are none."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from replicator.model.causal_token import CausalToken, token_scope
from replicator.model.ids import LogIndex
from replicator.propagation import (
    TOKEN_HEADER,
    AsgiMiddleware,
    carried,
    current,
    httpx_async_hooks,
    httpx_hooks,
    inject,
    observe,
)

SCOPE = token_scope(b"founder")


def token(index: int) -> str:
    return CausalToken(LogIndex(index)).encode(SCOPE)


async def moves_on(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the token that it was called with, and sees 5 entries more."""
    if scope["type"] == "lifespan":
        return
    causality = current()
    assert causality is not None
    before = causality.token or "none"
    _, point = CausalToken.read(causality.token or token(0))
    causality.observe(token(point.index + 5))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-other", b"kept")]})
    await send({"type": "http.response.body", "body": before.encode()})


@pytest.fixture
async def service() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(AsgiMiddleware(moves_on))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://service", event_hooks=httpx_async_hooks()
    ) as client:
        yield client


async def test_a_call_carries_the_token_there_and_back(service: httpx.AsyncClient) -> None:
    with carried(token(10)) as causality:
        answer = await service.get("/")
        assert (answer.text, answer.headers["x-other"]) == (token(10), "kept")
        assert causality.token == token(15)
        assert (await service.get("/")).text == token(15)
        assert causality.token == token(20)


async def test_a_call_without_a_context_carries_nothing(service: httpx.AsyncClient) -> None:
    answer = await service.get("/")
    assert answer.text == "none"
    assert answer.headers[TOKEN_HEADER] == token(5)
    assert current() is None


@pytest.mark.parametrize("text", ["", "no-token", token(3)[:-1]])
async def test_a_header_that_is_no_token_is_answered_by_400(service: httpx.AsyncClient, text: str) -> None:
    answer = await service.get("/", headers={TOKEN_HEADER: text})
    assert answer.status_code == 400
    assert answer.text.startswith(f"{TOKEN_HEADER}: the causal token is malformed")


async def test_what_is_no_request_passes_untouched() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    middleware = AsgiMiddleware(app)
    lifespan: Any = ({"type": "lifespan"}, app, app)  # neither is called
    await middleware(*lifespan)
    assert seen == [lifespan]


def test_clients_without_async_have_hooks_too() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={TOKEN_HEADER: token(9)}, text=request.headers[TOKEN_HEADER])

    with (
        httpx.Client(transport=httpx.MockTransport(answer), event_hooks=httpx_hooks()) as client,
        carried(token(4)) as causality,
    ):
        assert client.get("http://service/").text == token(4)
        assert causality.token == token(9)


def test_messages_of_any_kind_carry_it() -> None:
    message: dict[str, str] = {}
    inject(message)
    assert message == {}
    observe({TOKEN_HEADER: token(1)})  # nobody to tell
    with carried(token(2)) as causality:
        inject(message)
        observe({TOKEN_HEADER.upper(): token(7), "other": "x"})
        assert causality.token == token(7)
    assert message == {TOKEN_HEADER: token(2)}
