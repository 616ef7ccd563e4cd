"""`token`: what a causal token says. Asks no node."""

import click

from replicator.cli.output import JsonValue, print_facts, print_json
from replicator.model.causal_token import CausalToken


@click.group
def token() -> None:
    """Explain causal tokens."""


@token.command("decode")
@click.argument("text", metavar="TOKEN")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Format of the result.")
def decode(text: str, output: str) -> None:
    """Show which point of which group's log a token names. Of two tokens of one group, the higher index covers both."""
    scope, point = CausalToken.read(text)
    facts: dict[str, JsonValue] = {
        "index": point.index, "group_id": scope.group_id, "founder_tag": scope.founder_tag.hex(),
        "revision": point.revision,
    }  # fmt: skip
    if output == "json":
        print_json(facts)
    else:
        print_facts(facts)
