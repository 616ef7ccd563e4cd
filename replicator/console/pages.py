"""What the admin port answers. Plain text throughout: read by probes, scrapers and people with curl."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

INDEX: Final = """replicator node admin port

/livez     200 while the engine runs; 503 with the reason: restart the node
/readyz    200 if the node should get traffic; 503 with the reason
/startupz  200 once the node has begun to serve; 503 with the reason
/metrics   Prometheus text format
"""


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """ok: 200 or 503. text: what a person reads; one line."""

    ok: bool
    text: str


class Probes(Protocol):
    """Three questions to a node; each answer is immediate and never raises."""

    def live(self) -> ProbeAnswer:
        """False means that only a restart can help."""
        ...

    def ready(self) -> ProbeAnswer:
        """False means that callers do better elsewhere for now."""
        ...

    def started(self) -> ProbeAnswer:
        """True from the first moment of serving on, for good."""
        ...


Exposition = Callable[[], tuple[bytes, str]]
"""Metrics as text, and its content type."""


def admin_app(probes: Probes, exposition: Exposition) -> Starlette:
    """The whole admin port. Every route reads; none changes anything."""

    async def index(_: Request) -> Response:
        return PlainTextResponse(INDEX)

    async def metrics(_: Request) -> Response:
        body, content_type = exposition()
        return Response(body, headers={"content-type": content_type})

    return Starlette(
        routes=[
            Route("/", index),
            Route("/livez", _probe(probes.live)),
            Route("/readyz", _probe(probes.ready)),
            Route("/startupz", _probe(probes.started)),
            Route("/metrics", metrics),
        ]
    )


def _probe(ask: Callable[[], ProbeAnswer]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        result = ask()
        return PlainTextResponse(
            f"{result.text}\n", status_code=200 if result.ok else 503, headers={"cache-control": "no-store"}
        )

    return answer
