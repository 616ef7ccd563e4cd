"""A tiny replicated store that keeps every promise, and the history that its clients would record.

Replicas lag behind a log; reads wait for their token; lost replies become UNKNOWN. Whatever it records is legal.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from chaos.history import Export, FinalCopy, History, Kind, Operation, Pair, Result

REGIONS = ("eu", "us", "ap")


@dataclass
class Worker:
    """One client that does one thing at a time, and carries its newest token."""

    name: str
    region: str
    token: str = ""
    token_revision: int = 0
    seen: dict[str, int] = field(default_factory=dict)

    def learn(self, token: str, revision: int) -> None:
        if revision >= self.token_revision:
            self.token, self.token_revision = token, revision


class HonestStore:
    """revisions: what each one wrote. Position n of the log is revision n."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.now_s = 0.0
        self.log: list[tuple[str, str]] = []
        self.operations: list[Operation] = []
        self.exports: list[Export] = []
        self.serial = 0

    @property
    def revision(self) -> int:
        return len(self.log)

    def state_at(self, revision: int) -> dict[str, Pair]:
        pairs: dict[str, Pair] = {}
        for number, (key, value) in enumerate(self.log[:revision], start=1):
            version = pairs[key].version + 1 if key in pairs else 1
            pairs[key] = Pair(value, number, version)
        return pairs

    def write(self, worker: Worker, key: str, value: str, **facts: object) -> Operation:
        """A put, or with `expected_revision` a compare-and-set; now and then its reply is lost."""
        expected = facts.get("expected_revision")
        kind = Kind.PUT if expected is None else Kind.COMPARE_AND_SET
        held = self.state_at(self.revision).get(key)
        loses = expected is not None and expected != (held.mod_revision if held else 0)
        reply_is_lost = self.dice.random() < 0.15
        if not loses and not (reply_is_lost and self.dice.random() < 0.5):
            self.log.append((key, value))
        if reply_is_lost:
            return self._record(worker, kind, key, Result.UNKNOWN, value=value, **facts)
        token = f"t{self.revision}"
        worker.learn(token, self.revision)
        result = Result.FAILED if loses else Result.OK
        return self._record(worker, kind, key, result, value=value, token=token, revision=self.revision, **facts)

    def read(self, worker: Worker, key: str, carried: str | None = None) -> Operation:
        """From a replica that lags, but not behind the token."""
        token = worker.token if carried is None else carried
        floor = int(token[1:]) if token else 0
        revision = self.dice.randint(floor, self.revision)
        pair = self.state_at(revision).get(key)
        worker.learn(f"t{revision}", revision)
        return self._record(
            worker,
            Kind.READ,
            key,
            Result.OK,
            value=pair.value if pair else None,
            carried=token,
            token=f"t{revision}",
            revision=revision,
            mod_revision=pair.mod_revision if pair else 0,
            version=pair.version if pair else 0,
            node=f"{worker.region}-1",
            answered_in=worker.region,
        )

    def export(self, worker: Worker, between: Callable[[], object], *, pinned: bool = True) -> None:
        """In pages of some keys each; writes go on between them. pinned: all pages show the revision of the first."""
        start_s, revision, pairs = self.now_s, self.revision, dict[str, Pair]()
        keys = sorted(self.state_at(revision))
        for first in range(0, len(keys), 5):
            state = self.state_at(revision if pinned else self.revision)
            pairs |= {key: state[key] for key in keys[first : first + 5]}
            between()
        self.exports.append(Export(worker.name, revision, pairs, start_s, self.now_s))

    def history(self) -> History:
        copies = [
            FinalCopy(f"{region}-1", region, self.state_at(self.revision), self.revision, "r", "s")
            for region in REGIONS
        ]
        return History.of(self.operations, copies, self.exports)

    def _record(self, worker: Worker, kind: Kind, key: str, result: Result, **facts: object) -> Operation:
        start_s, self.now_s = self.now_s, self.now_s + 0.01
        operation = Operation(
            kind=kind,
            worker=worker.name,
            region=worker.region,
            key=key,
            result=result,
            start_s=start_s,
            end_s=self.now_s,
            **facts,  # type: ignore[arg-type]
        )
        self.operations.append(operation)
        return operation


def an_honest_history(seed: int, steps: int = 150, *, pinned: bool = True) -> History:
    """Orders, carts, counters and documents, as the demo writes them; exports beside them. pinned: see `export`."""
    import json

    dice = random.Random(seed)
    store = HonestStore(dice)
    workers = [Worker(f"{region}/{i}", region) for region in REGIONS for i in range(2)]
    for step in range(steps):
        worker = dice.choice(workers)
        other = dice.choice(workers)
        match dice.choice(["order", "cart", "counter", "read", "handover", "export"]):
            case "order":
                store.write(worker, f"order/{step}", f"order {step}")
            case "cart":
                read = store.read(worker, "cart/ada")
                items = [*json.loads(read.value or "[]"), {"id": f"item-{step}"}]
                expected = read.mod_revision
                store.write(worker, "cart/ada", json.dumps(items), element=f"item-{step}", expected_revision=expected)
            case "counter":
                read = store.read(worker, "sold/cups")
                value = str(int(read.value or 0) + 2)
                store.write(worker, "sold/cups", value, amount=2, expected_revision=read.mod_revision)
            case "read":
                store.read(worker, f"order/{dice.randrange(step + 1)}")
            case "export" if step % 5 == 0:
                keys = ("about", "config", "zone")
                store.export(worker, lambda: store.write(other, dice.choice(keys), str(store.revision)), pinned=pinned)  # noqa: B023
            case "handover" if other.token:
                if other.token_revision >= worker.token_revision:
                    store.read(worker, f"order/{dice.randrange(step + 1)}", carried=other.token)
    return store.history()
