"""A program without async that calls real nodes from threads, is interrupted, forks, or forgets to close.

Run as `python -m tests.support.sync_process CASE ADDRESS`; writes what came of it.
"""

import gc
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import replicator
import replicator.sync

THREADS = 8
TURNS = 10
PATIENCE_S = 60.0


def a_client(address: str) -> replicator.sync.SyncClient:
    return replicator.sync.connect(address, timeout_s=PATIENCE_S)


def add_one(client: replicator.sync.SyncClient) -> None:
    found = client.get(b"count", consistency=replicator.LINEARIZABLE)
    value, revision = found.value, found.mod_revision
    while True:
        done = client.compare_and_set(b"count", b"%d" % (int(value or b"0") + 1), if_revision=revision)
        if done.succeeded:
            return
        value, revision = done.value, done.mod_revision


def threads_count(address: str) -> list[str]:
    """Over two clients, which share one loop."""
    with a_client(address) as first, a_client(address) as second, ThreadPoolExecutor(THREADS) as pool:
        clients = [first, second] * (THREADS * TURNS // 2)
        list(pool.map(add_one, clients))
        count = first.get(b"count", consistency=replicator.LINEARIZABLE).value
        loops = sum(thread.name == "replicator-sync" for thread in threading.enumerate())
        return [f"count={(count or b'').decode()}", f"loops={loops}"]


def scans(address: str) -> list[str]:
    with a_client(address) as client:
        for number in range(5):
            token = client.put(b"scan/%d" % number, b"v").token
        pages = list(client.scan_pages(prefix=b"scan/", page_size=2, token=token))
        pairs = list(client.scan(prefix=b"scan/", token=token))
        abandoned = client.scan(prefix=b"scan/", page_size=1)
        next(abandoned)
        return [f"pages={[len(page.pairs) for page in pages]}", f"keys={[pair.key.decode() for pair in pairs]}"]


def interrupted(_: str) -> list[str]:
    """In a call to a port that answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def interrupt() -> None:
            connection, _ = silent.accept()  # the call is under way
            with connection:
                os.kill(os.getpid(), signal.SIGINT)
                done.wait(PATIENCE_S)

        done = threading.Event()

        threading.Thread(target=interrupt, daemon=True).start()
        client = replicator.sync.connect(f"127.0.0.1:{silent.getsockname()[1]}", timeout_s=3600.0)
        try:
            client.put(b"k", b"v")
        except KeyboardInterrupt:
            client.close()
            done.set()
            return ["interrupted"]
    return ["not interrupted"]


def closed_amid_calls(address: str) -> list[str]:
    """Each thread that calls hears of it."""
    client = a_client(address)
    begun = threading.Barrier(THREADS + 1)

    def write() -> str:
        begun.wait(PATIENCE_S)
        try:
            while True:
                client.put(b"k", b"v")
        except (replicator.ReplicatorError, RuntimeError) as error:
            return type(error).__name__

    with ThreadPoolExecutor(THREADS) as pool:
        calls = [pool.submit(write) for _ in range(THREADS)]
        begun.wait(PATIENCE_S)
        client.close()
        told = {call.result(PATIENCE_S) for call in calls}
    client.close()  # twice is fine
    strange = told - {"Unavailable", "OutcomeUnknown", "RuntimeError"}
    return [f"strange={sorted(strange)}"]


def never_closed(address: str) -> list[str]:
    kept.append(a_client(address))
    kept[0].put(b"k", b"v")
    return ["written"]


def collected(address: str) -> list[str]:
    """The last client goes without having been closed: so does the thread."""
    a_client(address).put(b"k", b"v")
    gc.collect()
    for thread in threading.enumerate():
        if thread.name == "replicator-sync":
            thread.join(PATIENCE_S)
    return [f"loops={sum(thread.name == 'replicator-sync' for thread in threading.enumerate())}"]


def in_child(answers: "multiprocessing.SimpleQueue[str]") -> None:
    try:
        kept[0].put(b"k", b"v")
    except RuntimeError as error:
        answers.put(f"RuntimeError: {error}")


def forked(address: str) -> list[str]:
    with a_client(address) as client:
        client.put(b"k", b"v")
        kept.append(client)
        context = multiprocessing.get_context("fork")
        answers = context.SimpleQueue()
        child = context.Process(target=in_child, args=(answers,))
        child.start()
        told = answers.get()
        child.join(PATIENCE_S)
        client.put(b"k", b"w")  # the fork has done no harm here
        return [told, f"exit={child.exitcode}"]


kept: list[replicator.sync.SyncClient] = []
CASES: dict[str, Callable[[str], list[str]]] = {
    "threads": threads_count,
    "scans": scans,
    "interrupted": interrupted,
    "closed-amid-calls": closed_amid_calls,
    "never-closed": never_closed,
    "collected": collected,
    "forked": forked,
}

if __name__ == "__main__":
    for line in CASES[sys.argv[1]](sys.argv[2]):
        sys.stdout.write(f"{line}\n")
