"""What all configs have in common: how a field becomes an argument or a flag, and what provenance keeps of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


def argument(default: Any = ..., **limits: Any) -> Any:
    """A positional argument: an input path, which is recorded by its content instead of its name."""
    return Field(default, json_schema_extra={"cli": "argument", "identity": False}, **limits)


def option(default: Any, *flags: str, identity: bool | Literal["name", "key=name"] = True, **limits: Any) -> Any:
    """An option with extra flags, or one that does not change the result.

    `identity="name"` is for what may be given as a path and is recorded by its content: only its last part is kept;
    `"key=name"` keeps the key before it too.
    """
    return Field(default, json_schema_extra={"flags": list(flags), "identity": identity}, **limits)


class Config(BaseModel):
    """Base of all configs: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def identity(self) -> dict[str, Any]:
        """The part of the config that decides the result, as JSON values, for the provenance."""
        kinds = {
            name: field.json_schema_extra.get("identity", True) if isinstance(field.json_schema_extra, dict) else True
            for name, field in type(self).model_fields.items()
        }
        dumped = json.loads(self.model_dump_json(include={name for name, kind in kinds.items() if kind}))
        return {name: _recorded(value, kinds[name]) for name, value in dumped.items()}


def _recorded(value: Any, kind: Any) -> Any:
    """What the provenance keeps of a value; a list of names is kept name by name."""
    if isinstance(value, list):
        return [_recorded(item, kind) for item in value]
    if kind is True or not value:
        return value
    key, equals, name = value.partition("=") if kind == "key=name" else ("", "", value)
    return f"{key}{equals}{Path(name).name or name}"


class StageConfig(Config):
    """What every command that writes a table has."""

    output: str = option("-", "-o", identity=False)
    """Output file; `-` writes Parquet to standard output."""
    force: bool = option(False, identity=False)
    """Run again even if the output is up to date, and overwrite whatever stands there."""
    json_summary: bool = option(False, "--json", identity=False)
    """Print the summary as one JSON object on standard output."""
