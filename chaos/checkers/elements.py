"""Lists that grow by one element a write, as seen in a node's final copy."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping

from chaos.history import FinalCopy, History, Result


def results_by_element(history: History) -> Mapping[str, Mapping[str, frozenset[Result]]]:
    """Key -> element -> results of all attempts to add it."""
    found: dict[str, dict[str, set[Result]]] = defaultdict(lambda: defaultdict(set))
    for operation in history.writes():
        if operation.element is not None:
            found[operation.key][operation.element].add(operation.result)
    return {key: {name: frozenset(results) for name, results in named.items()} for key, named in found.items()}


def count_elements(copy: FinalCopy, key: str) -> Counter[str]:
    """How often each element is in the list that a key holds: a JSON list of strings, or of objects with an `id`."""
    pair = copy.pairs.get(key)
    held = json.loads(pair.value) if pair is not None else []
    return Counter(element["id"] if isinstance(element, dict) else str(element) for element in held)
