"""Where a table came from: written into the file, compared before work is repeated.

No timestamps, absolute paths or secrets: the same inputs, config and seed give the same bytes.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO, cast

from pivotrl_cli.configs import Config
from pivotrl_cli.errors import InputError, OutputError
from pivotrl_cli.rows import Candidate, Dropped, EvalResult, Pivot, Profile, Reject, Row, StepMetrics, TrainRollout
from pivotrl_cli.text import shorten

SCHEMA_VERSION = 1
"""Raised whenever a row model changes its meaning."""

TABLES: dict[str, type[Row]] = {
    "candidates": Candidate,
    "rejects": Reject,
    "profile": Profile,
    "pivots": Pivot,
    "dropped": Dropped,
    "metrics": StepMetrics,
    "rollouts": TrainRollout,
    "eval": EvalResult,
}
"""Table names and their row models."""


def table_name(row: type[Row]) -> str:
    """Name of the table whose rows are `row`."""
    return next(name for name, model in TABLES.items() if model is row)


@dataclass(frozen=True, slots=True)
class Input:
    """One input by content; `provenance` is its own, where it is a table of ours."""

    name: str
    sha256: str
    provenance: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """What decides an output's bytes."""

    table: str
    command: str
    config: dict[str, Any]
    inputs: list[Input] = field(default_factory=list)
    fingerprints: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        command: str,
        row: type[Row],
        config: Config,
        inputs: Iterable[Input | Path],
        fingerprints: dict[str, str] | None = None,
    ) -> Provenance:
        """Provenance of a run; inputs given as paths are hashed here."""
        hashed = [i if isinstance(i, Input) else file_input(i) for i in inputs]
        return cls(table_name(row), command, config.identity(), hashed, fingerprints or {})

    def for_table(self, row: type[Row]) -> Provenance:
        """The provenance of this run for another of its outputs."""
        return Provenance(table_name(row), self.command, self.config, self.inputs, self.fingerprints)

    def to_dict(self) -> dict[str, Any]:
        """As stored in the file's metadata."""
        return {
            "table": self.table,
            "schema_version": SCHEMA_VERSION,
            "version": package_version(),
            "command": self.command,
            "config": self.config,
            "inputs": [
                {"name": i.name, "sha256": i.sha256} | ({"provenance": i.provenance} if i.provenance else {})
                for i in self.inputs
            ],
            "fingerprints": self.fingerprints,
        }


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs between two stored provenances, one `key: old -> new` each; input names do not count."""
    return [
        f"{key}: {shorten(json.dumps(a.get(key)), 40)} -> {shorten(json.dumps(b.get(key)), 40)}"
        for a, b in ((_comparable(old), _comparable(new)),)
        for key in sorted(a.keys() | b.keys())
        if a.get(key) != b.get(key)
    ]


def refuse_another(output: str, stored: dict[str, Any] | None, provenance: Provenance) -> None:
    """Raise `OutputError` unless an existing output's stored provenance is the one of this run."""
    if stored is None:
        raise OutputError(f"{output} exists and pivotrl did not write it", "choose another name, or add --force")
    changed = differences(stored, provenance.to_dict())
    if changed:
        raise OutputError(
            f"{output} exists and was made differently: {'; '.join(changed)}",
            "add --force to overwrite it, or choose another -o",
        )


def _comparable(stored: dict[str, Any]) -> dict[str, Any]:
    flat = {key: stored.get(key) for key in ("table", "schema_version", "version", "command")}
    flat |= {f"config.{key}": value for key, value in stored.get("config", {}).items()}
    flat |= {f"fingerprint of {key}": value for key, value in stored.get("fingerprints", {}).items()}
    flat["inputs"] = [i["sha256"] for i in stored.get("inputs", [])]
    return flat


REQUIRED_LIBRARIES = ("polars", "pyarrow", "pydantic", "typer")
"""Libraries that every run needs; `--version` and `doctor` show them."""


def package_version() -> str:
    """Version of this program."""
    try:
        return version("pivotrl")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "0+unknown"


def file_input(path: Path) -> Input:
    """Hash a file."""
    try:
        with path.open("rb") as file:
            return Input(path.name, hash_stream(file))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", "check the path") from error


def source_fingerprint(function: Any) -> str:
    """sha256 of the module that a plug-in was defined in: a function, or an object that can be called.

    Verifiers of ours share rules and worlds, so theirs is over the packages that can decide a verdict. One that wraps
    another (`rule.py:verify+judge`) is both.
    """
    modules = [path for path in (_source(function), _source(inspect.unwrap(function))) if path]
    ours = any(_VERIFIERS in path.parents for path in modules)
    shared = [path for folder in _DECIDING if ours for path in folder.rglob("*.py")]
    digests = sorted({file_input(path).sha256 for path in (*modules, *shared)})
    if len(digests) > 1:
        return hashlib.sha256("".join(digests).encode()).hexdigest()
    return digests[0] if digests else "unknown"


_VERIFIERS = Path(__file__).parents[1] / "verifiers"
_DECIDING = [_VERIFIERS, _VERIFIERS.with_name("environments")]


def _source(plug_in: Any) -> Path | None:
    """File of the module; None for what is built into the interpreter."""
    is_code = inspect.isroutine(plug_in) or inspect.isclass(plug_in)
    try:
        source = inspect.getsourcefile(plug_in if is_code else type(plug_in))
    except TypeError:
        return None
    return Path(source) if source else None


def hash_stream(file: BinaryIO) -> str:
    """sha256 of a stream, in hexadecimal."""
    return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
