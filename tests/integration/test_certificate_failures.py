"""Who cannot connect for want of a good certificate reads which one, and why: between nodes, and in the SDK."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import replicator
from replicator.certificates import NodeCertificates
from replicator.certificates.kept import LOOK_EVERY_S
from replicator.model.ids import NodeId
from tests.support.api_nodes import Disturbance, an_api_server
from tests.support.authority import DAY, Authority, Issued, client_tls, opened, put, put_pair, tls_files
from tests.support.links import Links, RecordingSink, is_linked, peers_of, until
from tests.support.memory_cluster import MemoryCluster

N1 = NodeId("n1")
PAST: dict[str, Any] = {"begins": -3 * DAY, "ends": -DAY}
FUTURE: dict[str, Any] = {"begins": DAY, "ends": 3 * DAY}
AUTHORITY, OTHER = Authority("one"), Authority("another")


@pytest.fixture
async def links() -> AsyncIterator[Links]:
    async with Links() as running:
        yield running


def told(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(r.message for r in caplog.records if r.message.startswith("cannot link peer=n1"))


@pytest.mark.parametrize(
    ("acceptor", "dialler", "why"),
    [
        (AUTHORITY.node("n1", **PAST), AUTHORITY.node("n2"), "the certificate shown there has expired"),
        (AUTHORITY.node("n1", **FUTURE), AUTHORITY.node("n2"), "the certificate shown there is not yet valid"),
        (OTHER.node("n1"), AUTHORITY.node("n2"), "wrong authority: no certificate of ca_file has issued"),
        (AUTHORITY.node("n1"), AUTHORITY.node("n2", **PAST), "this node's own certificate has expired: it was valid"),
        (AUTHORITY.node("n1"), AUTHORITY.node("n2", **FUTURE), "this node's own certificate is not yet valid"),
        (AUTHORITY.node("n1"), OTHER.node("n2"), "may be of an authority that is not trusted there"),
    ],
    ids=["its-expired", "its-not-yet", "its-authority", "own-expired", "own-not-yet", "own-authority"],
)
async def test_the_dialling_node_says_what_is_wrong_with_which_certificate(
    links: Links, tmp_path: Path, caplog: pytest.LogCaptureFixture, acceptor: Issued, dialler: Issued, why: str
) -> None:
    tls = opened(tls_files(tmp_path / "n1", AUTHORITY.pem, acceptor), "n1")
    one = await links.start(peers_of("n1", {"n2": 1}, tls=tls), RecordingSink())
    tls = opened(tls_files(tmp_path / "n2", AUTHORITY.pem, dialler), "n2")
    two = await links.start(peers_of("n2", {"n1": one.bound_port}, tls=tls), RecordingSink())
    await until(lambda: why in told(caplog))
    assert not is_linked(two, "n1")


async def test_a_link_outlives_its_certificates_and_the_next_one_is_made_with_the_new_ones(
    links: Links, tmp_path: Path
) -> None:
    sink_1, sink_2 = RecordingSink(), RecordingSink()
    tls = {n: opened(tls_files(tmp_path / n, AUTHORITY.pem, AUTHORITY.node(n)), n) for n in ("n1", "n2")}
    one = await links.start(peers_of("n1", {"n2": 1}, tls=tls["n1"]), sink_1)
    two = await links.start(peers_of("n2", {"n1": one.bound_port}, tls=tls["n2"]), sink_2)
    await until(lambda: is_linked(two, "n1") and is_linked(one, "n2"))
    for name, certificates in tls.items():
        put(tmp_path / name / "ca.pem", OTHER.pem)
        put_pair(tmp_path / name, OTHER.node(name))
        assert certificates.look()
    assert two.send(N1, b"over the old link")
    await until(lambda: sink_1.frames.get("n2") == [b"over the old link"])
    assert two.links()[N1].links == 1

    two.drop(N1, two.links()[N1].epoch, "to have another one")
    await until(lambda: two.links()[N1].links == 2 and is_linked(two, "n1"))


async def test_with_an_authority_of_its_own_the_peer_port_takes_nothing_that_the_other_one_issued(
    links: Links, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even a certificate with the marked name."""
    of_peers, of_clients = OTHER, AUTHORITY

    def tls(name: str, issued: Issued) -> NodeCertificates:
        files = tls_files(tmp_path / name, of_clients.pem, issued)
        return opened(replace(files, peer_ca_file=put(tmp_path / name / "peers.pem", of_peers.pem)), name)

    sink = RecordingSink()
    one = await links.start(peers_of("n1", {"n2": 1, "n3": 1}, tls=tls("n1", of_peers.node("n1"))), sink)
    two = await links.start(peers_of("n2", {"n1": one.bound_port}, tls=tls("n2", of_peers.node("n2"))), RecordingSink())
    await until(lambda: is_linked(two, "n1"))
    three = await links.start(
        peers_of("n3", {"n1": one.bound_port}, tls=tls("n3", of_clients.node("n3"))), RecordingSink()
    )
    await until(lambda: "may be of an authority that is not trusted there" in told(caplog))
    assert not is_linked(three, "n1")
    assert "n3" not in sink.up


@asynccontextmanager
async def an_api(folder: Path, issued: Issued) -> AsyncIterator[tuple[str, Any, Disturbance]]:
    """Address of an API with that certificate; what it shows, to be renewed; what disturbs its calls."""
    kept = opened(tls_files(folder, AUTHORITY.pem, issued), "n1")
    server, disturbance = an_api_server(MemoryCluster().add("n1", "eu"), tls=kept), Disturbance(asyncio.Event())
    await server.start(interceptors_inside=(disturbance,))
    try:
        yield f"127.0.0.1:{server.bound_port}", kept, disturbance
    finally:
        await server.stop(0.0)


@pytest.mark.parametrize(
    ("server", "client", "why"),
    [
        (AUTHORITY.node("n1", **PAST), AUTHORITY.client("app"), "the certificate shown there has expired"),
        (AUTHORITY.node("n1", **FUTURE), AUTHORITY.client("app"), "the certificate shown there is not yet valid"),
        (OTHER.node("n1"), AUTHORITY.client("app"), "wrong authority: no certificate of ca_file has issued"),
        (AUTHORITY.node("n1"), AUTHORITY.client("app", **PAST), "the certificate of tls.cert_file has expired: it was"),
        (AUTHORITY.node("n1"), AUTHORITY.client("app", **FUTURE), "the certificate of tls.cert_file is not yet valid"),
        (AUTHORITY.node("n1"), OTHER.client("app"), "may be of an authority that is not trusted there"),
    ],
    ids=["its-expired", "its-not-yet", "its-authority", "own-expired", "own-not-yet", "own-authority"],
)
async def test_unavailable_says_what_is_wrong_with_which_certificate(
    tmp_path: Path, server: Issued, client: Issued, why: str
) -> None:
    tls = client_tls(tmp_path / "app", AUTHORITY.pem, client)
    async with (
        an_api(tmp_path / "n1", server) as (address, *_),
        replicator.connect([address], tls=tls, timeout_s=5.0) as caller,
    ):
        with pytest.raises(replicator.Unavailable) as refused:
            await caller.put(b"k", b"v")
    assert f"cannot connect to {address}: " in refused.value.message
    assert why in refused.value.message
    assert refused.value.applied == "no"


async def test_unavailable_names_a_missing_certificate_a_wrong_name_and_a_node_that_is_down(tmp_path: Path) -> None:
    mine = client_tls(tmp_path / "app", AUTHORITY.pem, AUTHORITY.client("app"))
    async with an_api(tmp_path / "n1", AUTHORITY.node("n1")) as (address, *_):
        none = replicator.ClientTls(mine.ca_file)
        other = replicator.ClientTls(mine.ca_file, mine.cert_file, mine.key_file, server_name="eu.example")
        for tls, why in ((none, "a client certificate may be required"), (other, "another name than eu.example")):
            async with replicator.connect([address], tls=tls, timeout_s=5.0) as caller:
                with pytest.raises(replicator.Unavailable, match=why):
                    await caller.get(b"k")
    async with replicator.connect([address], tls=mine, timeout_s=2.0) as caller:
        with pytest.raises(replicator.Unavailable, match="is the node up"):
            await caller.get(b"k")


async def until_retried(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20 * LOOK_EVERY_S):
        while not await condition():  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0.05)


async def test_a_call_in_flight_ends_on_the_connection_that_it_was_sent_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is held in the server while the client moves on to a new connection."""
    caplog.set_level(logging.INFO)
    mine = client_tls(tmp_path / "app", AUTHORITY.pem, AUTHORITY.client("app"))
    held, go_on, seen = asyncio.Event(), asyncio.Event(), list[bytes]()

    async def hold(name: str, request: Any, context: Any) -> None:
        seen.append(context.auth_context()["x509_pem_cert"][0])
        if name == "WriteBatch" and b"held" in request.write.keys:
            held.set()
            await go_on.wait()

    async with (
        an_api(tmp_path / "n1", AUTHORITY.node("n1")) as (address, _, disturbance),
        replicator.connect([address], tls=mine, timeout_s=60.0) as caller,
    ):
        disturbance.before = hold
        in_flight = asyncio.create_task(caller.put(b"held", b"v"))
        await held.wait()
        renewed = AUTHORITY.client("app, renewed")
        put_pair(tmp_path / "app", renewed)

        async def new_calls_show_it() -> bool:
            await caller.get(b"k")
            return seen[-1].strip() == renewed.certificate.strip()

        await until_retried(new_calls_show_it)
        assert not in_flight.done()
        go_on.set()
        assert (await in_flight).revision == 1
        assert [name for name, _ in disturbance.requests].count("WriteBatch") == 1, (
            "sent once, not cut off and sent again"
        )


async def test_a_connection_that_cannot_be_renewed_goes_on_with_the_old_certificates(tmp_path: Path) -> None:
    """The client got its new certificate before the nodes trust its authority: a mistake that costs no call."""
    mine = client_tls(tmp_path / "app", AUTHORITY.pem + OTHER.pem, AUTHORITY.client("app"))
    async with (
        an_api(tmp_path / "n1", AUTHORITY.node("n1")) as (address, kept, disturbance),
        replicator.connect([address], tls=mine, timeout_s=20.0) as caller,
    ):
        shown: list[bytes] = []

        async def note(_name: str, _request: Any, context: Any) -> None:
            shown.append(context.auth_context()["x509_pem_cert"][0])

        disturbance.before = note
        await caller.put(b"k", b"v")
        untrusted = OTHER.client("app")
        put_pair(tmp_path / "app", untrusted)
        deadline_s = asyncio.get_running_loop().time() + 2.5 * LOOK_EVERY_S
        while asyncio.get_running_loop().time() < deadline_s:
            await caller.get(b"k")
            assert shown[-1] == shown[0]
            await asyncio.sleep(0.05)

        put(tmp_path / "n1/ca.pem", AUTHORITY.pem + OTHER.pem)
        assert kept.look()

        async def new_calls_show_it() -> bool:
            await caller.get(b"k")
            return shown[-1].strip() == untrusted.certificate.strip()

        await until_retried(new_calls_show_it)
