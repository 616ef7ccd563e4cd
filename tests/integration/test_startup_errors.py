"""A node that cannot start says why in exactly one line on stderr, names field and remedy, and exits with 2."""

import re
import socket
from pathlib import Path

import lmdb
import pytest

from replicator.config.load import load_config
from replicator.dev import NodePlan
from tests.support.authority import Authority, put_pair, tls_files
from tests.support.real_nodes import (
    Ended,
    one_node,
    rewrite,
    run_cli,
    start_serve,
    three_regions,
    until_exit,
    until_ready,
)

pytestmark = pytest.mark.process


@pytest.fixture
def node(tmp_path: Path) -> NodePlan:
    return one_node(tmp_path)


def serve(node: NodePlan) -> Ended:
    """Runs a node that is expected not to start."""
    return run_cli("serve", "--config", str(node.config_file))


def line_of(ended: Ended) -> str:
    """The one line, after the checks that hold for all of them."""
    assert ended.code == 2, ended
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.startswith("replicator: ")
    return ended.stderr.strip()


@pytest.mark.parametrize("field", ["api", "peer", "admin"])
def test_a_port_in_use_is_named_with_its_field(node: NodePlan, field: str) -> None:
    address = getattr(node, field)
    with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
        line = line_of(serve(node))

    assert line == (
        f"replicator: listen.{field}: cannot bind {address}: Address already in use; "
        "stop what uses the port, or set another address"
    )


def test_an_address_of_another_machine_is_told_from_a_port_in_use(node: NodePlan) -> None:
    rewrite(node, f'admin = "{node.admin}"', 'admin = "192.0.2.1:7201"')

    assert line_of(serve(node)).startswith(
        "replicator: listen.admin: cannot bind 192.0.2.1:7201: Cannot assign requested address; "
    )


def test_a_node_that_is_to_join_nobody_or_to_replace_itself_is_told_so(node: NodePlan, tmp_path: Path) -> None:
    alone = run_cli("serve", "--config", str(node.config_file), "--join")
    assert line_of(alone) == (
        "replicator: cluster.members: lists this node only; --join needs at least one present member to ask"
    )

    member = three_regions(tmp_path / "three").nodes[0]
    itself = run_cli("serve", "--config", str(member.config_file), "--join", "--replace", member.id)
    assert line_of(itself).startswith("replicator: --replace: 'eu-1' is this node itself; --join alone brings back")


def test_a_configuration_error_is_one_line(node: NodePlan) -> None:
    rewrite(node, "[raft]", '[raft]\nprofil = "wan"')

    assert line_of(serve(node)) == "replicator: raft.profil: unknown key; did you mean 'profile'?"


def test_a_newline_in_a_key_cannot_break_the_line(node: NodePlan) -> None:
    node.config_file.write_text('"a\\nb\\u001b[31m" = 1\n' + node.config_file.read_text())

    assert line_of(serve(node)).startswith("replicator: a b\\x1b[31m: unknown key; known here: ")


def test_a_missing_file_and_a_missing_option_are_usage_errors(tmp_path: Path) -> None:
    missing = run_cli("serve", "--config", str(tmp_path / "none.toml"))
    assert line_of(missing) == (
        f"replicator: --config: {tmp_path / 'none.toml'} does not exist; `replicator dev` writes examples"
    )
    assert line_of(run_cli("serve")) == ("replicator: usage: Missing option '--config'; see `replicator serve --help`")


def test_a_folder_that_cannot_be_created_is_named(node: NodePlan, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    rewrite(node, 'data_dir = "data"', f'data_dir = "{tmp_path / "file" / "data"}"')

    assert line_of(serve(node)).startswith(
        f"replicator: node.data_dir: {tmp_path / 'file' / 'data'}: cannot be created"
    )


def test_a_path_with_a_nul_in_it_is_refused(node: NodePlan) -> None:
    rewrite(node, 'data_dir = "data"', 'data_dir = "da\\u0000ta"')

    assert line_of(serve(node)).startswith("replicator: node.data_dir: ")


def test_the_certificate_of_an_api_client_is_none_for_a_node(node: NodePlan, tmp_path: Path) -> None:
    authority, cluster_id = Authority(), load_config(node.config_file).cluster.id
    tls_files(tmp_path, authority.pem, authority.client("shop"))
    node.config_file.write_text(
        node.config_file.read_text()
        + '\n[tls]\nca_file = "../ca.pem"\ncert_file = "../cert.pem"\nkey_file = "../key.pem"\n'
    )
    line = line_of(serve(node))
    assert line.startswith(f"replicator: tls.cert_file: {node.folder}/../cert.pem: the certificate lacks the DNS name ")
    assert f"'eu-1.node.{cluster_id}.replicator' (SAN) and server use (serverAuth): issue one" in line
    assert line.endswith("this one is of 'CN=shop', for no DNS name")

    put_pair(tmp_path, authority.issue("eu-1", f"eu-1.node.{cluster_id}.replicator", for_client=False))
    assert "lacks client use (clientAuth): issue one" in line_of(serve(node))


def test_certificates_that_do_not_fit_are_named(node: NodePlan, tmp_path: Path) -> None:
    authority = Authority()
    own = authority.node("eu-1", load_config(node.config_file).cluster.id)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "node.pem").write_bytes(own.certificate)
    (tmp_path / "node.key").write_bytes(authority.node("eu-1").key)
    tls = "".join(f'{name}_file = "{tmp_path / file}"\n' for name, file in _TLS_FILES)
    node.config_file.write_text(node.config_file.read_text() + f"\n[tls]\n{tls}")

    line = line_of(serve(node))
    assert line.startswith(f"replicator: tls.cert_file: {tmp_path / 'node.pem'} and tls.key_file ")
    assert "key values mismatch" in line

    (tmp_path / "node.key").write_bytes(own.key)
    (tmp_path / "ca.pem").write_text("not PEM")
    assert line_of(serve(node)).startswith(f"replicator: tls.ca_file: {tmp_path / 'ca.pem'} holds no PEM certificate")


_TLS_FILES = (("ca", "ca.pem"), ("cert", "node.pem"), ("key", "node.key"))


class TestDataDirectories:
    """What was once started is guarded by its own directory."""

    @pytest.fixture
    async def used(self, node: NodePlan) -> NodePlan:
        """A node that has run and ended."""
        process = start_serve(node.config_file, node.log_file)
        try:
            await until_ready(node)
        finally:
            process.terminate()
            assert await until_exit(process) == 0
        return node

    async def test_a_second_process_on_one_directory_names_the_first(self, node: NodePlan) -> None:
        first = start_serve(node.config_file, node.log_file)
        try:
            await until_ready(node)

            line = line_of(serve(node))

            assert line == (
                f"replicator: node.data_dir: {node.data_dir}: in use by process {first.pid}; "
                "stop it, or give this node a directory of its own"
            )
            await until_ready(node)  # the first one is none the worse for it
        finally:
            first.terminate()
            assert await until_exit(first) == 0

    async def test_no_second_process_gets_in_when_the_files_of_the_lock_are_deleted(self, node: NodePlan) -> None:
        first = start_serve(node.config_file, node.log_file)
        try:
            await until_ready(node)
            assert (node.data_dir / "LOCK").read_text().strip() == str(first.pid)
            for name in ("LOCK", "lock.mdb"):
                (node.data_dir / name).unlink()

            line = line_of(serve(node))

            assert line.startswith(f"replicator: node.data_dir: {node.data_dir}: in use by process ")
            await until_ready(node)
        finally:
            first.terminate()
            assert await until_exit(first) == 0

    @pytest.mark.parametrize("name", ["LOCK", "lock.mdb", "data.mdb"])
    async def test_a_link_in_place_of_a_file_is_not_written_through(
        self, used: NodePlan, tmp_path: Path, name: str
    ) -> None:
        precious = tmp_path / "precious"
        precious.write_bytes(b"precious")
        (used.data_dir / name).unlink()
        (used.data_dir / name).symlink_to(precious)

        assert f"{used.data_dir / name}: is no regular file (a symbolic link" in line_of(serve(used))
        assert precious.read_bytes() == b"precious"

    async def test_a_directory_that_everybody_may_write_to_is_refused_with_the_command(self, used: NodePlan) -> None:
        used.data_dir.chmod(0o777)

        assert line_of(serve(used)) == (
            f"replicator: node.data_dir: {used.data_dir}: everybody may write to it; chmod o-w {used.data_dir}"
        )

    async def test_a_directory_of_another_cluster_is_refused(self, used: NodePlan) -> None:
        text = used.config_file.read_text()
        used.config_file.write_text(re.sub(r'id = "dev-[0-9a-f]+"', 'id = "orders"', text))

        line = line_of(serve(used))

        assert line.startswith(f"replicator: node.data_dir: {used.data_dir}: of cluster dev-")
        assert line.endswith(", this node of orders; correct cluster.id or node.data_dir")

    async def test_a_directory_of_another_node_is_refused(self, used: NodePlan) -> None:
        used.config_file.write_text(used.config_file.read_text().replace('"eu-1"', '"eu-9"'))

        assert line_of(serve(used)) == (
            f"replicator: node.data_dir: {used.data_dir}: of node eu-1, this node is eu-9; "
            "correct node.id or node.data_dir"
        )

    async def test_a_newer_format_is_refused_and_left_as_it_is(self, used: NodePlan) -> None:
        with lmdb.open(str(used.data_dir), max_dbs=32) as env:
            meta = env.open_db(b"meta", create=False)
            with env.begin(write=True) as txn:
                txn.put(b"format_version", b"99", db=meta)

        line = line_of(serve(used))

        assert line.startswith(f"replicator: node.data_dir: {used.data_dir}: has format 99, this release reads ")
        assert line.endswith("; use the release that wrote it")

    async def test_a_file_that_is_no_database_is_refused(self, used: NodePlan) -> None:
        (used.data_dir / "data.mdb").write_bytes(b"not a database" * 10_000)

        line = line_of(serve(used))

        assert line.startswith(f"replicator: node.data_dir: {used.data_dir}: damaged or not written by replicator")

    async def test_a_node_that_was_refused_starts_once_the_cause_is_gone(self, used: NodePlan) -> None:
        text = used.config_file.read_text()
        used.config_file.write_text(text.replace('"eu-1"', '"eu-9"'))
        line_of(serve(used))
        used.config_file.write_text(text)

        process = start_serve(used.config_file, used.log_file)
        try:
            await until_ready(used)
        finally:
            process.terminate()
            assert await until_exit(process) == 0
