"""The plan of a local cluster: files that a node accepts, the same cluster again, and clear refusals."""

from dataclasses import replace
from pathlib import Path

import pytest

from replicator.config.load import load_config
from replicator.dev import NodePlan, SeenAt, plan_cluster
from replicator.model.errors import ConfigError


def by_id(nodes: tuple[NodePlan, ...]) -> dict[str, NodePlan]:
    return {node.id: node for node in nodes}


def test_every_node_gets_a_file_that_loads_and_names_all_members(tmp_path: Path) -> None:
    plan = plan_cluster(tmp_path, ["eu", "us", "ap"], profile="wan")
    plan.write()

    for node in plan.nodes:
        config = load_config(node.config_file)
        assert config.node.id == node.id
        assert config.node.region == node.region
        assert config.node.data_dir == str(node.data_dir)
        assert (config.api_listen, config.peer_listen, config.listen.admin) == (node.api, node.peer, node.admin)
        assert config.raft.profile == "wan"
        assert [member.id for member in config.cluster.members] == ["eu-1", "us-1", "ap-1"]
        assert config.cluster.id == plan.cluster_id


def test_a_file_that_is_written_anew_says_so_in_its_first_line(tmp_path: Path) -> None:
    """Or an operator's changes are lost without a word."""
    plan = plan_cluster(tmp_path, ["eu"])
    plan.write()
    [node] = plan.nodes
    first_line = node.config_file.read_text(encoding="utf-8").splitlines()[0]
    assert first_line.startswith("# ")
    assert "your changes here are lost" in first_line

    node.config_file.write_text(node.config_file.read_text(encoding="utf-8") + "\n[storage]\nlog_entries_max = 64\n")
    plan_cluster(tmp_path, ["eu"]).write()
    assert "[storage]" not in node.config_file.read_text(encoding="utf-8")


def test_nodes_are_spread_over_the_regions_in_turn(tmp_path: Path) -> None:
    plan = plan_cluster(tmp_path, ["eu", "us"], nodes=5)
    assert [node.id for node in plan.nodes] == ["eu-1", "us-1", "eu-2", "us-2", "eu-3"]


def test_all_ports_of_a_cluster_differ(tmp_path: Path) -> None:
    plan = plan_cluster(tmp_path, ["eu"], nodes=9)
    ports = [port for node in plan.nodes for port in (node.api_port, node.peer_port, node.admin_port)]
    assert len(set(ports)) == 27


def test_a_node_can_be_told_another_way_to_a_peer(tmp_path: Path) -> None:
    """Only the file of the one who looks changes: that is where a proxy comes in. The group knows nothing of it."""
    plan = plan_cluster(tmp_path, ["eu", "us"])
    eu, us = plan.nodes
    routed = replace(plan, seen_from={(us.id, eu.id): SeenAt(peer="127.0.0.1:1234", api="127.0.0.1:1235")})
    routed.write()

    config_of_us, config_of_eu = load_config(us.config_file), load_config(eu.config_file)
    assert [(route.id, route.peer) for route in config_of_us.routes] == [(eu.id, "127.0.0.1:1234")]
    assert config_of_eu.routes == ()
    seen_by_us = {member.id: member for member in config_of_us.cluster.members}
    seen_by_eu = {member.id: member for member in config_of_eu.cluster.members}
    assert (seen_by_us[eu.id].peer, seen_by_us[eu.id].api) == (eu.peer, "127.0.0.1:1235")
    assert (seen_by_eu[eu.id].peer, seen_by_eu[us.id].peer) == (eu.peer, us.peer)


def test_a_node_can_advertise_another_address_than_it_binds(tmp_path: Path) -> None:
    plan = plan_cluster(tmp_path, ["eu"])
    [eu] = plan.nodes
    replace(plan, seen_from={(eu.id, eu.id): SeenAt(api="127.0.0.1:1235")}).write()
    config = load_config(eu.config_file)
    assert (config.me.api, config.api_listen) == ("127.0.0.1:1235", eu.api)


def test_a_folder_that_holds_the_cluster_gives_the_same_cluster_and_ports_again(tmp_path: Path) -> None:
    plan = plan_cluster(tmp_path, ["eu", "us", "ap"])
    plan.write()
    assert plan_cluster(tmp_path, ["eu", "us", "ap"]) == plan


def test_new_clusters_are_strangers_to_each_other(tmp_path: Path) -> None:
    one, other = plan_cluster(tmp_path / "one", ["eu"]), plan_cluster(tmp_path / "other", ["eu"])
    assert one.cluster_id != other.cluster_id


def test_a_folder_that_holds_another_cluster_is_refused(tmp_path: Path) -> None:
    plan_cluster(tmp_path, ["eu", "us", "ap"]).write()
    with pytest.raises(
        ConfigError, match=r"--data: .* holds a cluster of ap-1, eu-1, us-1, not of eu-1, us-1"
    ) as caught:
        plan_cluster(tmp_path, ["eu", "us"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("regions", "nodes", "field"),
    [
        ([], None, "--regions"),
        (["EU"], None, "--regions"),
        (["eu", "eu"], 3, "--regions"),
        (["eu", "us"], 1, "--nodes"),
        (["eu"], 0, "--nodes"),
        (["eu"], 10, "--nodes"),
    ],
)
def test_a_request_that_makes_no_cluster_names_the_option(
    tmp_path: Path, regions: list[str], nodes: int | None, field: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_cluster(tmp_path, regions, nodes=nodes)
    assert caught.value.field == field


def test_an_unknown_profile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none of lan, wan, auto"):
        plan_cluster(tmp_path, ["eu"], profile="moon")


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=r"--data: .*cannot be written"):
        plan_cluster(tmp_path / "file", ["eu"]).write()


def test_a_node_that_is_added_gets_a_name_and_ports_of_its_own_and_a_file_that_names_the_others(tmp_path: Path) -> None:
    plan = plan_cluster(tmp_path, ["eu", "us"], nodes=3)
    plan.write()

    grown, added = plan.with_node("us")
    grown.write_file_of(added)

    assert added.id == "us-2"
    assert len({port for node in grown.nodes for port in (node.api_port, node.peer_port, node.admin_port)}) == 12
    config = load_config(added.config_file)
    assert [member.id for member in config.cluster.members] == ["eu-1", "us-1", "eu-2", "us-2"]
    assert load_config(plan.nodes[0].config_file).cluster.members[-1].id == "eu-2", "the others' files stay"


def test_a_node_that_is_added_to_many_lists_some_of_them_and_itself(tmp_path: Path) -> None:
    grown, added = plan_cluster(tmp_path, ["eu"], nodes=9).with_node("us")
    grown.write_file_of(added)

    members = load_config(added.config_file).cluster.members
    assert (len(members), members[-1].id) == (9, "us-1")
