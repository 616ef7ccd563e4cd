"""The client without async has every call of the client, with the same parameters and the same results."""

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, get_args, get_origin, get_type_hints

import pytest

import replicator
import replicator.sync

CALLS = [name for name, _ in inspect.getmembers(replicator.Client, inspect.isfunction) if not name.startswith("_")]


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


@pytest.mark.parametrize("name", CALLS)
def test_every_call_has_a_twin_without_async(name: str) -> None:
    ours, theirs = getattr(replicator.sync.SyncClient, name), getattr(replicator.Client, name)
    assert parameters(ours) == parameters(theirs)
    given, awaited = (get_type_hints(function)["return"] for function in (ours, theirs))
    if get_origin(awaited) is AsyncIterator:
        assert given == Iterator[get_args(awaited)[0]]  # type: ignore[misc]
    else:
        assert given == awaited


def test_it_has_no_calls_of_its_own() -> None:
    public = {name for name, _ in inspect.getmembers(replicator.sync.SyncClient) if not name.startswith("_")}
    assert public == set(CALLS)


def test_connect_takes_what_connect_takes() -> None:
    assert parameters(replicator.sync.connect) == parameters(replicator.connect)
