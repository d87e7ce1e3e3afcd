"""Command-line options drawn from a config model, so that no knob is spelled twice.

Each field becomes a flag (or an argument, where the field says so) whose help is the field's docstring. `--config
run.toml` sets the same keys; flags win.
"""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from pivotrl_cli.configs import Config, EngineConfig, JudgeConfig, StageConfig, UserConfig
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.interface.manual import value_word

C = TypeVar("C", bound=Config)


def with_options(config_type: type[C]) -> Callable[[Callable[[C], None]], Callable[..., None]]:
    """Decorator: turn `command(config)` into a function that typer gives one option per config field."""

    def decorate(command: Callable[[C], None]) -> Callable[..., None]:
        def run(ctx: typer.Context, **values: Any) -> None:
            command(_config(ctx, config_type, values))

        run.__name__, run.__doc__ = command.__name__, config_type.__doc__
        run.__signature__ = inspect.Signature(_parameters(config_type))  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in _parameters(config_type)}
        return run

    return decorate


def _parameters(config_type: type[Config]) -> list[inspect.Parameter]:
    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    shared = (StageConfig, JudgeConfig, UserConfig, EngineConfig)
    own_first = sorted(config_type.model_fields, key=lambda name: [name in base.model_fields for base in shared])
    fields = [_parameter(name, config_type.model_fields[name]) for name in own_first]
    toml = typer.Option("--config", help="TOML file that sets the same keys; flags win.", metavar="FILE")
    from_file = inspect.Parameter(
        "config_file", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[Path | None, toml]
    )
    return [context, *fields, from_file]


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    default = None if field.is_required() else field.default
    help_text = (field.description or "").replace("\n", " ")
    word = value_word(name, field)
    if extra.get("cli") == "argument":
        info: Any = typer.Argument(help=help_text, show_default=False, metavar=word)
        default = inspect.Parameter.empty if field.is_required() else default
    else:
        help_text += "  [required]" if field.is_required() else ""
        info = typer.Option(*flags_of(name, field), help=help_text, show_default=default is not None, metavar=word)
    annotation = field.annotation if not field.is_required() or extra.get("cli") else field.annotation | None  # type: ignore[operator]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, info]
    )


def flags_of(name: str, field: FieldInfo) -> list[str]:
    """The flags of a field's option, the long one first."""
    extra: Any = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    flags = [str(flag) for flag in extra.get("flags", [])]
    long = "--" + name.replace("_", "-")
    if name == "n" or any(flag.startswith("--") for flag in flags):
        return flags
    return [long, *flags]


def _config(ctx: typer.Context, config_type: type[C], values: dict[str, Any]) -> C:
    path = values.pop("config_file")
    given = {name: value for name, value in values.items() if _is_given(ctx, name)}
    merged = (_from_toml(path, ctx.info_name or "", config_type) if path is not None else {}) | given
    try:
        return config_type.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        flag = flags_of(name, config_type.model_fields[name])[0] if name else "options"
        message = "is missing" if first["type"] == "missing" else first["msg"]
        raise ConfigError(f"{flag}: {message}", f"see pivotrl {ctx.info_name} --help") from error


def _is_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _from_toml(path: Path, command: str, config_type: type[Config]) -> dict[str, Any]:
    """Keys of the file, or of its section named after the command."""
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", "check the path") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}", "it must be TOML, such as: max_mean = 0.6") from error
    section = table.get(command)
    if not isinstance(section, dict):
        section = {key: value for key, value in table.items() if not isinstance(value, dict)}
    keys: dict[str, Any] = {str(key).replace("-", "_"): value for key, value in section.items()}
    unknown = [key for key in keys if key not in config_type.model_fields]
    if unknown:
        raise ConfigError(f"{path}: unknown key '{unknown[0]}'", f"see pivotrl {command} --help for the keys")
    return keys
