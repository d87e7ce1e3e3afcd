"""Export: pivots as other trainers want them, one folder per target.

    for each row: into the target's form (`exporters/`), or counted with the reason

The folder appears whole or not at all, with its provenance and counts in `pivotrl.json`. Nothing falls away in silence:
what the target cannot hold and which rows are left out stands in the summary, each with the first row it happened to.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pivotrl_cli.configs import ExportConfig
from pivotrl_cli.errors import ConfigError, RunError
from pivotrl_cli.exporters import Destination, Exporter, load_exporter
from pivotrl_cli.rows import Candidate, Pivot, Profile
from pivotrl_cli.storage.files import partial_path
from pivotrl_cli.storage.folders import new_folder, stored_summary, write_note
from pivotrl_cli.storage.locks import Lock
from pivotrl_cli.storage.provenance import Provenance, source_fingerprint
from pivotrl_cli.storage.table import Table
from pivotrl_cli.verifiers import asks_judge, load_verifier

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pivotrl_cli.model.chat import ChatFormat


def run(config: ExportConfig) -> dict[str, Any]:
    """Write the folder; returns the summary."""
    exporter = load_exporter(config.to)
    _check(config, exporter)
    with Table.open(config.pivots, _kind(config.pivots)) as table:
        provenance = Provenance.of("export", table.row, config, [table.as_input()], _fingerprints(config, exporter))
        stored = stored_summary(Path(config.output), provenance, force=config.force)
        if stored is not None:
            return stored | {"cached": True}
        return _write(exporter, table, config, provenance)


def _check(config: ExportConfig, exporter: Exporter) -> None:
    if config.output == "-":
        raise ConfigError("an export is a folder", "name it with -o FOLDER")
    if config.model is not None and not exporter.renders:
        raise ConfigError(f"--model renders prompts, and {config.to} takes messages", "leave --model out")
    if config.verifier is not None and not asks_judge(config.verifier):
        load_verifier(config.verifier)


def _kind(path: str) -> type[Candidate]:
    """Row model of the table: what a profile and a filter have added is handed on where it is there."""
    with Table.open(path, Candidate) as table:
        if not table.has("rollouts"):
            return Candidate
        return Pivot if table.has("weight") else Profile


def _fingerprints(config: ExportConfig, exporter: Exporter) -> dict[str, str]:
    found = {"exporter": source_fingerprint(type(exporter))}
    if config.model is not None:
        from pivotrl_cli.model.folder import fingerprint, resolve

        found["chat format"] = fingerprint(resolve(config.model), weights=False)
    return found


def _chat(config: ExportConfig) -> ChatFormat | None:
    if config.model is None:
        return None
    from pivotrl_cli.model.chat import ChatFormat
    from pivotrl_cli.model.folder import load_tokenizer, resolve

    return ChatFormat(load_tokenizer(resolve(config.model)))


def _write(exporter: Exporter, table: Table[Candidate], config: ExportConfig, provenance: Provenance) -> dict[str, Any]:
    final = Path(config.output)
    to = Destination(partial_path(final), _chat(config), provenance.to_dict())
    with Lock(final), new_folder(final, to.folder) as making:
        exporter.write(_rows(table, config.verifier), to)
        summary = {"to": config.to, "n_given": table.n_rows, **to.tally.summary()}
        if not to.tally.n_rows:
            raise RunError(_nothing(table, summary), "inspect the table, or choose another target")
        write_note(making, provenance, summary)
    return summary


def _rows(table: Table[Candidate], verifier: str | None) -> Iterator[Candidate]:
    for row in table.rows():
        yield row if verifier is None else row.model_copy(update={"verifier": verifier})


def _nothing(table: Table[Candidate], summary: dict[str, Any]) -> str:
    reasons = "; ".join(f"{one['n']:,} {one['what']}" for one in summary["left_out"]) or "the table is empty"
    return f"{table.name}: nothing to export ({reasons})"


def describe(summary: dict[str, Any]) -> RenderableType:
    """What was handed on, for a terminal."""
    from rich.console import Group

    lines = [f"export to {summary['to']}: {summary['n_rows']:,} of {summary['n_given']:,} rows"]
    for name, title in {"left_out": "left out", "not_held": "without"}.items():
        lines += [f"{one['n']:,} {title}: {one['what']} (first {one['first']})" for one in summary[name]]
    return Group(*lines)
