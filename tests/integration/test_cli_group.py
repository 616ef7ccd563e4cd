"""`member` and `leader` over real servers: what they print, and with which code they end."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from replicator.model.members import MemberRole
from tests.support.api_nodes import ApiNode, serving
from tests.support.memory_cluster import MemoryCluster
from tests.support.real_nodes import Ended, run_cli

N4 = ("n4", "--region", "ap", "--peer", "127.0.0.1:7104", "--api", "127.0.0.1:7004")


class Group:
    """Three members that serve, n1 leading; commands run beside them, in processes of their own."""

    def __init__(self, nodes: list[ApiNode]) -> None:
        self.nodes = nodes
        self.cluster = nodes[0].node.cluster

    async def __call__(self, *arguments: str) -> Ended:
        endpoints = ",".join(api.address for api in self.nodes)
        return await asyncio.to_thread(run_cli, *arguments, "--endpoints", endpoints)

    async def json(self, *arguments: str) -> Any:
        return json.loads((await self(*arguments, "-o", "json")).stdout)


@asynccontextmanager
async def a_group() -> AsyncIterator[Group]:
    cluster = MemoryCluster(promotes=False)
    for node_id, region in (("n1", "eu"), ("n2", "us"), ("n3", "ap")):
        cluster.add(node_id, region)
    async with serving(cluster) as nodes:
        cluster.add_unknown("n4", "ap")
        yield Group(nodes)


async def test_members_are_listed_with_roles_and_links() -> None:
    async with a_group() as group:
        await group("member", "add", *N4, "--observer")

        listed = await group("member", "list")
        assert (listed.code, listed.stderr) == (0, "")
        rows = [line.split() for line in listed.stdout.splitlines() if "voter" in line or "observer" in line]
        assert [row[0] for row in rows] == ["*", "n2", "n3", "n4"]
        assert rows[3][:5] == ["n4", "ap", "observer", "127.0.0.1:7004", "127.0.0.1:7104"]

        facts = await group.json("member", "list")
        assert facts["leader"] == "n1"
        assert set(facts["members"][0]) == {
            "node_id", "region", "api_address", "peer_address", "connected", "leader", "match_index", "lag_entries",
            "role", "linked_at",
        }  # fmt: skip


async def test_a_member_is_added_promoted_demoted_and_removed() -> None:
    async with a_group() as group:
        assert await group("member", "add", *N4, "--observer") == Ended(
            0, "node=n4 role=observer members=4 index=2\n", ""
        )
        assert (await group("member", "add", *N4, "--observer")).stdout.endswith("index=2\n"), "it is one already"
        assert (await group("member", "promote", "n4")).stdout == "node=n4 role=joining members=4 index=3\n"
        group.cluster.settle()
        promoted = group.cluster.membership.get("n4")
        assert promoted is not None
        assert (promoted.role, promoted.api_address) == (MemberRole.VOTER, "127.0.0.1:7004")
        assert (await group("member", "demote", "n4")).stdout.startswith("node=n4 role=observer")

        facts = await group.json("member", "remove", "n4")
        assert (set(facts), len(facts["members"])) == ({"index", "members"}, 3)
        gone = await group("member", "remove", "n4")
        assert gone == Ended(1, "", "replicator: ABSENT: 'n4' is no member; members are n1, n2, n3\n")
        assert (await group("member", "promote", "n4")).code == 1


async def test_what_would_leave_no_connected_majority_is_refused_unless_forced() -> None:
    async with a_group() as group:
        group.nodes[2].node.cut_off()

        for verb, done in (("remove", "removed"), ("demote", "demoted")):
            refused = await group("member", verb, "n2")
            assert (refused.code, refused.stdout) == (1, "")
            assert refused.stderr.startswith(f"replicator: UNSAFE: n2 is not {done}: of the 2 voters that stay, 1 are")
            assert refused.stderr.endswith("; --force lets the leader decide\n")

        assert (await group("member", "remove", "n2", "--force")).code == 0
        assert group.cluster.membership.get("n2") is None


async def test_the_last_voter_stays_and_nobody_is_told_to_force_what_the_group_refuses() -> None:
    async with a_group() as group:
        await group("member", "remove", "n2")
        await group("member", "remove", "n3")

        refused = await group("member", "remove", "n1")
        assert refused == Ended(
            1, "", "replicator: UNSAFE: n1 is not removed: it is the last voter; add a voter first\n"
        )
        forced = await group("member", "remove", "n1", "--force")
        assert (forced.code, "last voter" in forced.stderr) == (1, True), forced

        await group("member", "add", *N4, "--observer")
        assert "last voter; let an observer vote first" in (await group("member", "demote", "n1")).stderr


async def test_tables_say_when_no_leader_is_known() -> None:
    async with a_group() as group:
        note = "no leader known"
        for command in (("member", "list"), ("status", "--all"), ("status",)):
            assert note not in (await group(*command)).stdout

        group.cluster.leader = None
        for command in (("member", "list"), ("status", "--all"), ("status",)):
            shown = await group(*command)
            assert (shown.code, note in shown.stdout) == (0, True), shown
            assert (await group.json(*command))["leader"] == ""


async def test_what_the_group_refuses_is_exit_code_1_and_no_leader_is_3() -> None:
    async with a_group() as group:
        taken = await group(
            "member", "add", "n4", "--region", "ap", "--peer", "127.0.0.1:7", "--api", group.nodes[0].address
        )
        assert taken.code == 1
        assert taken.stderr.startswith("replicator: INVALID_ARGUMENT: n1 has an address of n4")

        group.cluster.leader = None
        lost = await group("member", "add", *N4, "--timeout", "1")
        assert lost.code == 3
        assert lost.stderr.startswith("replicator: NO_LEADER: ")
        assert (await group("leader", "show", "--timeout", "1")).code == 3


async def test_leadership_is_shown_and_handed_over() -> None:
    async with a_group() as group:
        endpoint = group.nodes[0].address
        assert await group("leader", "show") == Ended(0, f"leader=n1 region=eu endpoint={endpoint}\n", "")
        assert await group.json("leader", "show") == {"leader": "n1", "region": "eu", "endpoint": endpoint}

        assert await group("leader", "transfer", "--to", "n3") == Ended(0, "leader=n3\n", "")
        assert await group.json("leader", "transfer", "--region", "us") == {"leader": "n2"}
        assert (await group("leader", "transfer")).stdout in ("leader=n1\n", "leader=n3\n")

        unknown = await group("leader", "transfer", "--to", "n9")
        assert (unknown.code, unknown.stdout) == (1, "")
        assert "n9" in unknown.stderr


async def test_status_shows_who_does_not_vote_and_the_timers_in_force() -> None:
    async with a_group() as group:
        await group(
            "member",
            "add",
            "n3",
            "--region",
            "ap",
            "--peer",
            "127.0.0.1:7",
            "--api",
            group.nodes[2].address,
            "--observer",
        )

        shown = await group("status", "--all")

        assert any(line.split()[:3] == ["n3", "ap", "observer"] for line in shown.stdout.splitlines()), shown
        assert shown.stdout.endswith("timers: heartbeat 50 ms, election 300 to 600 ms\n")
