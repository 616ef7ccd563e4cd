"""The only reader of configuration files: TOML in, a checked NodeConfig out, or one line that says why not."""

import difflib
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from replicator.config.relations import check_relations
from replicator.config.schema import NodeConfig
from replicator.model.errors import ConfigError


def load_config(path: Path) -> NodeConfig:
    """Reads and checks one node's file. Relative paths in it become relative to the file's folder.

    Raises ConfigError with the dotted name of the field and the remedy.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError("--config", f"{path} does not exist; `replicator dev` writes examples") from None
    except OSError as error:
        raise ConfigError("--config", f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("--config", f"{path} is not TOML: {error}") from None
    return parse_config(raw, base_dir=path.parent)


def parse_config(raw: dict[str, Any], base_dir: Path) -> NodeConfig:
    """Checks what a file holds. Raises ConfigError."""
    try:
        config = NodeConfig.model_validate(raw)
    except ValidationError as error:
        raise _first_problem(error) from None
    check_relations(config)
    return _with_absolute_paths(config, base_dir)


def _with_absolute_paths(config: NodeConfig, base_dir: Path) -> NodeConfig:
    def absolute(name: str) -> str:
        return str((base_dir / name).absolute())

    node = config.node.model_copy(update={"data_dir": absolute(config.node.data_dir)})
    cluster = config.cluster
    if cluster.secret_file is not None:
        cluster = cluster.model_copy(update={"secret_file": absolute(cluster.secret_file)})
    tls = config.tls
    if tls is not None:
        named = {name: getattr(tls, name) for name in ("ca_file", "cert_file", "key_file", "peer_ca_file")}
        files = {name: absolute(file) for name, file in named.items() if file is not None}
        for name, file in files.items():
            if not Path(file).is_file():
                raise ConfigError(f"tls.{name}", f"{file} does not exist")
        tls = tls.model_copy(update=files)
    return config.model_copy(update={"node": node, "cluster": cluster, "tls": tls})


def _first_problem(error: ValidationError) -> ConfigError:
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _known_fields(problem["loc"][:-1])
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return ConfigError(field, f"unknown key; {remedy}")
    if problem["type"] == "missing":
        return ConfigError(field, "is required")
    got = problem["input"]
    shown = f" (got {got!r})" if isinstance(got, str | int | float | bool) else ""
    return ConfigError(field, problem["msg"].removeprefix("Value error, ") + shown)


def _known_fields(location: tuple[int | str, ...]) -> list[str]:
    model: Any = NodeConfig
    for part in location:
        if isinstance(part, str):
            model = _section_of(model, part)
    return sorted(model.model_fields)


def _section_of(model: type[BaseModel], field: str) -> type[BaseModel]:
    """The section class behind a field, whether it is required, optional or repeated."""
    annotation: Any = model.model_fields[field].annotation
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return model
