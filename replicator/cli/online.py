"""Options that every online command has, and the one place where a command meets the event loop."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from replicator.cli.exit_codes import CommandFailed, ExitCode, failure_of
from replicator.cli.output import Format
from replicator.model.addresses import address_flaw
from replicator.model.errors import ReplicatorError
from replicator.model.limits import CALL_TIMEOUT_S_DEFAULT, CALL_TIMEOUT_S_MAX

if TYPE_CHECKING:
    from replicator.client import Client, ClientTls

Result = TypeVar("Result")
Command = TypeVar("Command", bound=Callable[..., Any])

ENDPOINTS_DEFAULT: Final = "127.0.0.1:7001"


@dataclass(frozen=True, slots=True, kw_only=True)
class Online:
    """How to reach the cluster, how long to wait for one call, how to print."""

    endpoints: tuple[str, ...]
    region: str | None
    timeout_s: float
    output: Format
    ca_file: Path | None
    cert_file: Path | None
    key_file: Path | None

    @property
    def wants_json(self) -> bool:
        """True for `-o json`."""
        return self.output == "json"


def online_options(command: Command) -> Command:
    """Adds the options and hands them to the command as one `online` argument."""
    return _with_options(command, _OPTIONS, {})


def group_options(command: Command) -> Command:
    """The same without --region, which commands about the group need for themselves: they ask the leader anyway."""
    return _with_options(command, tuple(option for option in _OPTIONS if option is not _REGION), {"region": None})


def transfer_options(command: Command) -> Command:
    """The same without -o as the form of results, for commands whose data go to a file."""
    return _with_options(command, tuple(option for option in _OPTIONS if option is not _OUTPUT), {"output": "text"})


def _with_options(command: Command, options: Sequence[Callable[[Any], Any]], fixed: Mapping[str, Any]) -> Command:
    """fixed: the settings for which there is no option."""

    @functools.wraps(command)
    def with_online(**given: Any) -> Any:
        settings = {name: given.pop(name) for name in Online.__dataclass_fields__ if name not in fixed}
        return command(online=Online(**settings, **fixed), **given)

    decorated: Any = with_online
    for option in reversed(options):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def call(online: Online, use: "Callable[[Client], Awaitable[Result]]", *, retry_hint: str | None = None) -> Result:
    """Connects, runs `use`, closes. retry_hint: for commands that write, why running them again is safe.

    Raises CommandFailed for every error that the cluster or the client answers with.
    """

    async def connected() -> Result:
        async with _connect(online) as client:
            return await use(client)

    try:
        return asyncio.run(connected())
    except ReplicatorError as error:
        raise failure_of(error, retry_hint=retry_hint) from None


def _connect(online: Online) -> "Client":
    from replicator.client import connect

    return connect(online.endpoints, online.region, tls=_tls(online), timeout_s=online.timeout_s)


def _tls(online: Online) -> "ClientTls | None":
    if online.ca_file is None:
        if online.cert_file or online.key_file:
            raise CommandFailed(ExitCode.USAGE, "--cert", "needs --cacert: without it the connection is plaintext")
        return None
    if (online.cert_file is None) != (online.key_file is None):
        raise CommandFailed(ExitCode.USAGE, "--cert", "and --key belong together; give both, or neither")
    from replicator.client import ClientTls

    return ClientTls(
        ca_file=str(online.ca_file),
        cert_file=str(online.cert_file) if online.cert_file else None,
        key_file=str(online.key_file) if online.key_file else None,
    )


def _endpoints(_ctx: click.Context, parameter: click.Parameter, given: str) -> tuple[str, ...]:
    endpoints = tuple(part.strip() for part in given.split(",") if part.strip())
    if not endpoints:
        raise click.BadParameter("names no endpoint; give HOST:PORT, several separated by commas", param=parameter)
    for endpoint in endpoints:
        flaw = address_flaw(endpoint)
        if flaw is not None:
            raise click.BadParameter(f"{endpoint!r} {flaw}", param=parameter)
    return endpoints


_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_REGION: Final = click.option("--region", metavar="REGION", help="Prefer nodes of this region for reads.")
_OUTPUT: Final = click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="JSON always carries every field.",
)
_OPTIONS: Final = (
    click.option(
        "--endpoints",
        envvar="REPLICATOR_ENDPOINTS",
        default=ENDPOINTS_DEFAULT,
        show_default=True,
        show_envvar=True,
        callback=_endpoints,
        metavar="HOST:PORT,...",
        help="Nodes to ask, in this order unless --region prefers one.",
    ),
    _REGION,
    click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0, min_open=True, max=CALL_TIMEOUT_S_MAX),
        default=CALL_TIMEOUT_S_DEFAULT,
        show_default=True,
        metavar="SECONDS",
        help="For one call; a scan makes one call a page.",
    ),
    _OUTPUT,
    click.option("--cacert", "ca_file", type=_FILE, help="CA certificate of the cluster (PEM); without it: plaintext."),
    click.option("--cert", "cert_file", type=_FILE, help="Own certificate (PEM), if the cluster asks for one."),
    click.option("--key", "key_file", type=_FILE, help="Key of --cert (PEM)."),
)
