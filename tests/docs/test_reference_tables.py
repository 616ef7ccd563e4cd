"""Tables in the reference pages say what the code says: no row too many, none too few, no value off."""

import builtins
import inspect
import re
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin

import annotated_types
import click
import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import replicator
from replicator.api.grpc_status import STATUS_OF
from replicator.cli.exit_codes import ExitCode
from replicator.cli.main import cli
from replicator.config import schema
from replicator.model import limits
from replicator.model.errors import ERROR_OF_REASON, InvalidToken, Unavailable
from replicator.model.observe import Signal
from replicator.model.values import Consistency, NodeStatus
from replicator.storage.layout import Databases
from replicator.telemetry.instruments import INSTRUMENTS
from replicator.telemetry.vitals import COUNTERS, GAUGES
from tests.docs.pages import ROOT, code, read, table

_CODE = re.compile(r"`([^`]+)`")
_PATH = re.compile(r"`([\w./-]+/[\w.-]+\.(?:py|md|proto|toml))`")


def schema_rows(model: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """Every key of the configuration by its dotted path; a list of sections counts as a key and has keys of its own."""
    rows: dict[str, FieldInfo] = {}
    for name, info in model.model_fields.items():
        sections = [
            part
            for part in (info.annotation, *get_args(info.annotation))
            if isinstance(part, type) and issubclass(part, BaseModel)
        ]
        if sections:
            if get_origin(info.annotation) is tuple:
                rows[f"{prefix}{name}"] = info
            rows |= schema_rows(sections[0], f"{prefix}{name}.")
        else:
            rows[f"{prefix}{name}"] = info
    return rows


def type_of(info: FieldInfo) -> str:
    annotation: Any = info.annotation
    members = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is Literal:
        *most, last = (f"`{member}`" for member in members)
        return f"{', '.join(most)} or {last}"
    if get_origin(annotation) is tuple:
        return "list"
    text = f"{info.metadata} {annotation}"  # the checks of names and addresses are functions of the schema
    if "_address" in text:
        return "HOST:PORT"
    if "_name" in text:
        return "name"
    plain = members[0] if members else annotation
    return {str: "text", int: "integer", float: "number", bool: "true or false"}[plain]


def allowed_of(info: FieldInfo) -> str:
    bounds: dict[str, Any] = {}
    for rule in info.metadata:
        for name in ("ge", "gt", "le", "min_length", "max_length"):
            if getattr(rule, name, None) is not None and isinstance(rule, annotated_types.BaseMetadata):
                bounds[name] = getattr(rule, name)
    if "gt" in bounds:
        return f"more than {bounds['gt']:g}, to {bounds['le']:g}"
    if "ge" in bounds:
        return f"{bounds['ge']} to {bounds['le']}"
    if "max_length" in bounds:
        return f"{bounds['min_length']} to {bounds['max_length']} rows"
    return f"{bounds['min_length']} character or more" if "min_length" in bounds else ""


def default_of(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    if info.default is None:
        return "none"
    if isinstance(info.default, bool):
        return str(info.default).lower()
    return f"`{info.default}`" if isinstance(info.default, str) else f"{info.default}"


def test_the_configuration_reference_is_the_schema() -> None:
    """Type, range and default of every key."""
    documented = {code(row[0]): row[1:4] for row in table("docs/operating.md", "key")}
    expected = {
        key: [type_of(info), allowed_of(info), default_of(info)] for key, info in schema_rows(schema.NodeConfig).items()
    }

    assert documented == expected


def test_every_key_has_a_unit_where_its_name_has_one() -> None:
    for key, *_, unit, meaning in table("docs/operating.md", "key"):
        assert meaning, key
        if code(key).endswith("_s"):
            assert unit == "s", key
        if "mib" in key:
            assert unit == "MiB", key


def test_the_metrics_reference_is_the_code() -> None:
    """Names and kinds of all instruments; in one order, by name within signals and gauges alike."""
    documented = {code(row[0]): row[1] for row in table("docs/operating.md", "metric")}
    expected: dict[str, str] = {signal.value: INSTRUMENTS[signal].kind for signal in Signal}
    expected |= {name: "gauge" for name, *_ in GAUGES} | {name: "counter" for name, *_ in COUNTERS}

    assert documented == expected


def test_the_start_up_errors_are_messages_of_the_code() -> None:
    """Each text that the page quotes stands in the source."""
    source = "".join(file.read_text() for file in sorted((ROOT / "replicator").rglob("*.py")))
    quoted = [text for row in table("docs/operating.md", "the line says") for text in _CODE.findall(row[0])]

    assert [text for text in quoted if text not in source] == []


def test_the_limits_are_those_of_the_model() -> None:
    documented = {code(row[2]): float(row[1]) for row in table("docs/operating.md", "limit")}
    numbers = {name: value for name, value in vars(limits).items() if name.isupper() and isinstance(value, int | float)}
    expected = {name: float(value) for name, value in numbers.items() if name != "FORMAT_LIMITS_NUMBER"}

    assert documented == expected


def test_the_error_table_is_the_code() -> None:
    """Reason, class, family, status, applied, retry."""
    documented = {}
    for reason, sdk_class, status, applied, retry, met in table("docs/errors.md", "reason"):
        assert met, reason
        name, _, family = sdk_class.partition(" ")
        documented[code(reason)] = (code(name), family, code(status), applied, retry)
    expected = {}
    for reason, error in ERROR_OF_REASON.items():
        family = "U" if Unavailable in error.__mro__[1:] else "T" if InvalidToken in error.__mro__[1:] else ""
        retry = "yes" if error.retryable else "no"
        expected[reason] = (error.__name__, family, STATUS_OF[error].name, error.applied, retry)

    assert documented == expected
    assert [name for name, *_ in expected.values() if not hasattr(replicator, name)] == []


def test_what_an_error_means_for_a_write_is_told_for_every_error() -> None:
    rows = table("docs/consistency.md", "error")
    told = {reason: row[1] for row in rows for reason in _CODE.findall(row[0])}

    assert told.keys() == ERROR_OF_REASON.keys()
    assert {reason for reason, text in told.items() if text.startswith("may or may not")} == {
        reason for reason, error in ERROR_OF_REASON.items() if error.applied == "unknown"
    }


def test_the_read_levels_are_all_there() -> None:
    levels = {row[0].split("`")[1] for row in table("docs/consistency.md", "level")}

    assert levels == {level.name for level in Consistency}
    assert {row[0].split("`")[1] for row in table("README.md", "call") if row[0].startswith("read")} == levels


def test_the_exit_codes_are_those_of_the_cli() -> None:
    assert {int(row[0]) for row in table("docs/cli.md", "code")} == {int(code) for code in ExitCode}


def test_every_command_and_option_is_on_the_page_of_the_cli() -> None:
    """The reverse holds because the page's examples are run."""
    page = read("docs/cli.md")
    context = cli.make_context("replicator", [], resilient_parsing=True)
    missing = []
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        subcommands = command.commands if isinstance(command, click.Group) else {}
        for path, each in ((name, command), *((f"{name} {verb}", each) for verb, each in subcommands.items())):
            options = [option for param in each.params for option in param.opts if option.startswith("--")]
            missing += [f"{path} {option}" for option in options if option not in page]
            if f"`{path} " not in page and f"`{path}`" not in page:
                missing.append(path)
    assert missing == []


def test_the_fields_of_a_status_are_on_the_page_of_the_cli() -> None:
    documented = {part for row in table("docs/cli.md", "field") for part in row[0].replace("`", "").split(", ")}

    assert documented == {field.name for field in fields(NodeStatus)} | {"lag_entries"}


@pytest.mark.parametrize("row", table("docs/sdk.md", "call"), ids=lambda row: row[0].split("(")[0].strip("`"))
def test_a_call_of_the_sdk_takes_and_returns_what_the_page_says(row: list[str]) -> None:
    """Names of parameters in order, and of the result's fields."""
    name, _, arguments = code(row[0]).rstrip(")").partition("(")
    method = getattr(replicator.Client, name)
    shown = [part.strip() for part in arguments.split(",") if part.strip() != "*"]
    assert shown == [parameter for parameter in inspect.signature(method).parameters if parameter != "self"]

    returned, *listed = _CODE.findall(row[1])
    if returned in ("str", "int"):
        assert inspect.signature(method).return_annotation is getattr(builtins, returned)
        return
    result: Any = getattr(replicator, returned)
    if name != "status":  # its fields are on the page of the CLI
        assert listed == [field.name for field in fields(result)]


def test_the_databases_of_the_architecture_are_those_of_the_store() -> None:
    assert [code(row[0]) for row in table("docs/architecture.md", "database")] == [
        field.name for field in fields(Databases)
    ]


def test_files_that_pages_name_exist() -> None:
    """Pages name modules by their path within the package, or from the root."""
    missing = [
        f"{page.name}: {path}"
        for page in sorted((ROOT / "docs").glob("*.md"))
        for path in _PATH.findall(page.read_text())
        if not any((base / path).exists() for base in (ROOT, ROOT / "replicator", page.parent))
    ]
    assert missing == []
