"""Base of the configs: how a field becomes an argument or a flag, and what the provenance records of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo


def argument(default: Any = "", *, required: bool = True, metavar: str | None = None, **bounds: Any) -> Any:
    """A positional argument: an input path, recorded by its content instead of its name.

    The command line requires it; from Python the function that gets the config sets it.
    """
    extra: dict[str, Any] = {"argument": True, "required": required, "metavar": metavar, "identity": False}
    return Field(default, json_schema_extra=extra, **bounds)


def option(
    default: Any,
    *flags: str,
    panel: str = "Options",
    metavar: str | None = None,
    required: bool = False,
    cli_only: bool = False,
    identity: bool | Literal["name", "key=name"] = True,
    **bounds: Any,
) -> Any:
    """An option: its panel in `--help`, the word for its value where the type says too little, and further flags.

    `cli_only` marks what only the command line has. `identity` is what the provenance records: the value, nothing (it
    does not change the result), or for a value that may be a path, whose content is recorded, only its last part
    (`"name"`; `"key=name"` keeps the key before it).
    """
    extra: dict[str, Any] = {"flags": list(flags), "panel": panel, "metavar": metavar, "required": required}
    return Field(default, json_schema_extra=extra | {"cli_only": cli_only, "identity": identity}, **bounds)


def option_extras(field: FieldInfo) -> dict[str, Any]:
    """What `argument` and `option` keep of a field beside its type, default, help and bounds."""
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


class Config(BaseModel):
    """Base of all configs: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _from_path_or_text(cls, value: Any, info: ValidationInfo) -> Any:
        """Accept one text for a list, and a path for a text."""
        if not isinstance(value, str | Path):
            return value
        annotation = cls.model_fields[str(info.field_name)].annotation
        if get_origin(annotation) is list:
            return [str(value)]
        return str(value) if isinstance(value, Path) and str in (annotation, *get_args(annotation)) else value

    def identity(self) -> dict[str, Any]:
        """The part of the config that decides the result, as JSON values, for the provenance."""
        kinds = {name: option_extras(field).get("identity", True) for name, field in type(self).model_fields.items()}
        dumped = json.loads(self.model_dump_json(include={name for name, kind in kinds.items() if kind}))
        return {name: _recorded_value(value, kinds[name]) for name, value in dumped.items()}


def _recorded_value(value: Any, kind: Any) -> Any:
    """The recorded form of a value; in a list, of each item."""
    if isinstance(value, list):
        return [_recorded_value(item, kind) for item in value]
    if kind is True or not value:
        return value
    key, equals, name = value.partition("=") if kind == "key=name" else ("", "", value)
    return f"{key}{equals}{Path(name).name or name}"


class StageConfig(Config):
    """Options of every command that writes a table."""

    output: str = option("-", "-o", panel="Output", metavar="FILE", identity=False)
    """Output file; `-` writes Parquet to standard output."""
    force: bool = option(False, panel="Output", identity=False)
    """Overwrite an existing output, and run even if it is up to date."""
    json_summary: bool = option(False, "--json", panel="Output", cli_only=True, identity=False)
    """Print the summary as one JSON object on standard output."""
