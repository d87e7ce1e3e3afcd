"""Command-line options drawn from a config model: each field is a flag or an argument whose help is its docstring.

`--config run.toml` sets the same keys; flags win. `--help` is plain text by panel: typer draws panels only
with rich, whose tables cut long flags and URLs short at 80 columns.
"""

from __future__ import annotations

import inspect
import tomllib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from typer.core import TyperCommand

from pivotrl_cli.configs import Config
from pivotrl_cli.configs.base import option_extras
from pivotrl_cli.errors import ConfigError

C = TypeVar("C", bound=Config)


class Command(TyperCommand):
    """A command whose help lists its options by panel, and its epilog line by line as examples."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTIONS]", *(_usage(p) for p in self.params if p.param_type_name == "argument")]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            panel = getattr(parameter, "rich_help_panel", None) or "Other"
            name, text = parameter.get_help_record(ctx) or ("", "")
            panels.setdefault(panel, []).append((_usage(parameter) if panel == "Arguments" else name, text))
        for panel, records in panels.items():
            with formatter.section(panel):
                formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Examples"):
            for example in (self.epilog or "").splitlines():
                formatter.write(f"  {example}\n")


def _usage(argument: Any) -> str:
    return f"{argument.metavar}{'...' if argument.nargs == -1 else ''}"


def fields_by_panel(config_type: type[Config]) -> dict[str, dict[str, FieldInfo]]:
    """Panel -> name -> field: arguments first, then the command's own panels, the shared ones, and the output last."""
    depth = {name: n for n, owner in enumerate(config_type.__mro__) for name in inspect.get_annotations(owner)}
    found: dict[str, dict[str, FieldInfo]] = {"Arguments": {}}
    for name in sorted(config_type.model_fields, key=lambda name: (name != "output", depth[name])):
        field = config_type.model_fields[name]
        panel = "Arguments" if "argument" in option_extras(field) else option_extras(field).get("panel", "Options")
        found.setdefault(panel, {})[name] = field
    return {panel: fields for panel, fields in found.items() if panel != "Output"} | {"Output": found.get("Output", {})}


def metavar(name: str, field: FieldInfo) -> str | None:
    """The word for a value, as `FILE` in `--output FILE`; None for a flag, which has none."""
    if word := option_extras(field).get("metavar"):
        return str(word)
    kind = _scalar(field.annotation)
    if kind is bool:
        return None
    if "argument" in option_extras(field):
        return name.upper()
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    return {int: "N", float: "X", Path: "FILE"}.get(kind, "TEXT")


def _scalar(annotation: Any) -> Any:
    """The type without `| None` and `list[...]`."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _scalar(next(arg for arg in args if arg is not type(None)))
    return _scalar(args[0]) if origin is list else annotation


def flags_of(name: str, field: FieldInfo) -> list[str]:
    """The flags of a field's option, the long one first."""
    flags: list[str] = option_extras(field).get("flags", [])
    if name == "n" or any(flag.startswith("--") for flag in flags):
        return flags
    return ["--" + name.replace("_", "-"), *flags]


def is_required(field: FieldInfo) -> bool:
    """Whether the command line requires the field."""
    return field.is_required() or bool(option_extras(field).get("required"))


def with_options(config_type: type[C]) -> Callable[[Callable[[C], None]], Callable[..., None]]:
    """Decorator: turn `command(config)` into a function that typer gives one option per config field."""

    def decorate(command: Callable[[C], None]) -> Callable[..., None]:
        def run(ctx: typer.Context, **values: Any) -> None:
            command(_config(ctx, config_type, values))

        parameters = _parameters(config_type)
        run.__name__, run.__doc__ = command.__name__, config_type.__doc__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def _parameters(config_type: type[Config]) -> list[inspect.Parameter]:
    toml = typer.Option("--config", help="TOML file that sets the same keys; flags win.", metavar="FILE")
    return [
        _keyword("ctx", inspect.Parameter.empty, typer.Context),
        *(
            _parameter(panel, name, field)
            for panel, fields in fields_by_panel(config_type).items()
            for name, field in fields.items()
        ),
        _keyword("config_file", None, Path | None, toml),
    ]


def _parameter(panel: str, name: str, field: FieldInfo) -> inspect.Parameter:
    text, word = (field.description or "").replace("\n", " "), metavar(name, field)
    if panel == "Arguments":
        info: Any = typer.Argument(help=text, show_default=False, metavar=word, rich_help_panel=panel)
        return _keyword(name, inspect.Parameter.empty if is_required(field) else field.default, field.annotation, info)
    default = None if is_required(field) else field.default
    text += "  [required]" if is_required(field) else ""
    info = typer.Option(
        *flags_of(name, field), help=text, show_default=default is not None, metavar=word, rich_help_panel=panel
    )
    annotation: Any = field.annotation
    return _keyword(name, default, annotation | None if is_required(field) else annotation, info)


def _keyword(name: str, default: Any, annotation: Any, info: Any = None) -> inspect.Parameter:
    shown_as = annotation if info is None else Annotated[annotation, info]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=shown_as)


def _config(ctx: typer.Context, config_type: type[C], values: dict[str, Any]) -> C:
    path = values.pop("config_file")
    sources = {name: ctx.get_parameter_source(name) for name in values}
    given = {name: values[name] for name, source in sources.items() if source and source.name != "DEFAULT"}
    merged = (_from_toml(path, ctx.info_name or "", config_type) if path is not None else {}) | given
    hint = f"see pivotrl {ctx.info_name} --help"
    for name, field in config_type.model_fields.items():
        if is_required(field) and not merged.get(name):
            raise ConfigError(f"{flags_of(name, field)[0]}: is missing", hint)
    try:
        return config_type.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        flag = flags_of(name, config_type.model_fields[name])[0] if name else "options"
        raise ConfigError(f"{flag}: {first['msg']}", hint) from error


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
