"""Configs of extract, desk and export."""

from __future__ import annotations

from pathlib import Path

from pivotrl_cli.configs.base import Config, StageConfig, argument, option
from pivotrl_cli.configs.shared import TemplateConfig


class ExtractConfig(StageConfig):
    """Turn trajectories into candidates, one per assistant turn."""

    sources: list[str] = argument([], metavar="SOURCE")
    """Trajectory files, folders or globs; `hf:NAME` loads a data set of the hub (extra `datasets`)."""
    format: str = option("auto", panel="Format", metavar="NAME")
    """Format of the trajectories; `auto` detects it from the content."""
    verifier: str = option("tool_call", panel="Verifier", metavar="NAME", identity="name")
    """Verifier that scores actions: a built-in name or `module:function`."""
    verifier_for: list[str] = option([], panel="Verifier", metavar="KEY=NAME", identity="key=name")
    """`KEY=NAME`: verifier for one tool or one domain; a tool takes precedence over a domain. Repeatable."""
    tools: Path | None = option(None, panel="Format", identity=False)
    """JSON file with the tool schemas, for formats that do not record them."""
    system: Path | None = option(None, panel="Format", identity=False)
    """Text file with the system prompt, for formats that do not record it."""
    only_successful: bool = option(False, panel="Filters")
    """Skip trajectories whose recorded outcome is unknown or below `--success-threshold`."""
    success_threshold: float = option(1.0, panel="Filters")
    """Minimum outcome of a successful trajectory."""
    min_outcome: float | None = option(None, panel="Filters")
    """Skip trajectories whose recorded outcome is unknown or below this."""
    dedup: bool = option(False, panel="Filters")
    """Reject candidates with the same state and action as an earlier one, across tasks and runs."""
    check_against: Path | None = option(None, panel="Filters", identity=False)
    """File of a benchmark or validation set; report trajectories whose prompt overlaps with one of its prompts."""
    drop_contaminated: bool = option(False, panel="Filters")
    """Reject the turns of the trajectories that `--check-against` reports."""
    holdout: float = option(0.0, panel="Holdout", ge=0.0, lt=1.0)
    """Share of tasks (of trajectories where the task is unknown) in the holdout split."""
    seed: int = option(0, panel="Holdout", ge=0)
    """Seed of the holdout split."""
    limit: int | None = option(None, panel="Filters", ge=1)
    """Maximum number of trajectories to read."""
    rejects: Path | None = option(None, panel="Output", identity=False)
    """Output file for the rejects; default: `<stem>.rejects.parquet` next to the output."""
    profile: Path | None = option(None, panel="Output", identity=False)
    """Also write a profile of the rewards recorded in the input (pivot sets with pass rates), for `filter`."""


class DeskConfig(Config):
    """Write expert trajectories of the built-in service desk as OpenAI chat JSONL."""

    n: int = option(128, "-n", ge=1)
    """Number of trajectories."""
    seed: int = option(0, ge=0)
    """Seed of the tasks and of the expert's style."""
    min_turns: int = option(5, ge=5, le=18)
    """Minimum assistant turns that the expert needs for a task; a fifth of the tasks need 12 or more."""
    output: str = option("-", "-o", metavar="FILE", identity=False)
    """Output file; `-` writes to standard output."""


class ExportConfig(TemplateConfig, StageConfig):
    """Export pivots for another trainer: a folder in its format, with the matching reward file or config."""

    pivots: str = argument()
    """Pivots table; candidates or a profile also work. `-` reads standard input."""
    to: str = option(..., metavar="TARGET", identity="name")
    """Target: `nemo-gym`, `trl`, `verl`, `openai` (fine-tuning on the demonstrations), or `module:Class`."""
    output: str = option("", "-o", panel="Output", metavar="FOLDER", required=True, identity=False)
    """Output folder."""
    model: str | None = option(None, metavar="MODEL", identity="name")
    """Targets trl and verl: render the prompts, with tools, using the chat template of this model folder, hub name or
    `desk`; by default prompts stay messages."""
    verifier: str | None = option(None, metavar="NAME", identity="name")
    """Use this verifier instead of the one named in the pivots."""
    rows: str | None = option(None, metavar="FILE", identity="name")
    """Target nemo-gym: write the measured pass rates back into these rows, from which the candidates were extracted,
    and keep everything else in them; by default new rows are written."""
