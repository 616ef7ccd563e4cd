"""The client without async has every call of the client, with the same parameters and the same results."""

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, get_args, get_origin, get_type_hints

import pytest

import replicator
import replicator.sync
from replicator.client.session import Session
from replicator.client.sync_session import SyncSession

TWINS = {replicator.Client: replicator.sync.SyncClient, Session: SyncSession}


def calls_of(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


CALLS = [(kind, name) for kind in TWINS for name in sorted(calls_of(kind)) if inspect.isfunction(getattr(kind, name))]


@pytest.mark.parametrize(("kind", "name"), CALLS)
def test_every_call_has_a_twin_without_async(kind: type, name: str) -> None:
    ours, theirs = getattr(TWINS[kind], name), getattr(kind, name)
    assert parameters(ours) == parameters(theirs)
    given, awaited = (get_type_hints(function)["return"] for function in (ours, theirs))
    if get_origin(awaited) is AsyncIterator:
        assert given == Iterator[get_args(awaited)[0]]  # type: ignore[misc]
    else:
        assert given == TWINS.get(awaited, awaited)


@pytest.mark.parametrize("kind", TWINS)
def test_it_has_no_calls_of_its_own(kind: type) -> None:
    assert calls_of(TWINS[kind]) == calls_of(kind)


def test_connect_takes_what_connect_takes() -> None:
    assert parameters(replicator.sync.connect) == parameters(replicator.connect)
