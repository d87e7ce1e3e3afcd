"""Trajectories in, pivots out to others: extract, desk, export."""

from __future__ import annotations

from pathlib import Path

from pivotrl_cli.configs.base import Config, StageConfig, argument, option


class ExtractConfig(StageConfig):
    """Turn trajectories into candidates: one row per assistant turn."""

    sources: list[str] = argument([], metavar="SOURCE")
    """Trajectory files, folders or globs; `hf:NAME` opens anything that datasets.load_dataset does."""
    format: str = option("auto", panel="Format", metavar="NAME")
    """Format of the trajectories; `auto` recognises it by content."""
    verifier: str = option("tool_call", panel="Verifier", metavar="NAME", identity="name")
    """Verifier that will score actions: a built-in name or `module:function`."""
    verifier_for: list[str] = option([], panel="Verifier", metavar="KEY=NAME", identity="key=name")
    """`KEY=NAME`: another verifier for a tool, or for a domain; the tool that a turn calls wins. Repeatable."""
    tools: Path | None = option(None, panel="Format", identity=False)
    """JSON file with the tool schemas, for formats that keep them outside the record."""
    system: Path | None = option(None, panel="Format", identity=False)
    """Text file with the system prompt, for formats that keep it outside the record."""
    only_successful: bool = option(False, panel="Filters")
    """Leave out trajectories whose recorded outcome is below `--success-threshold` or unknown."""
    success_threshold: float = option(1.0, panel="Filters")
    """Outcome from which on a trajectory counts as successful."""
    min_outcome: float | None = option(None, panel="Filters")
    """Leave out trajectories whose recorded outcome is below this or unknown."""
    dedup: bool = option(False, panel="Filters")
    """Reject candidates whose state and action an earlier one has, whatever task or run they are from."""
    check_against: Path | None = option(None, panel="Filters", identity=False)
    """File of a benchmark or validation set; report the trajectories whose prompt overlaps with one of its prompts."""
    drop_contaminated: bool = option(False, panel="Filters")
    """Reject the turns of the trajectories that `--check-against` reports."""
    holdout: float = option(0.0, panel="Holdout", ge=0.0, lt=1.0)
    """Share of tasks (trajectories where the task is unknown) put in the holdout split."""
    seed: int = option(0, panel="Holdout", ge=0)
    """Seed of the holdout split."""
    limit: int | None = option(None, panel="Filters", ge=1)
    """Stop after this many trajectories."""
    rejects: Path | None = option(None, panel="Output", identity=False)
    """Where the rejects go; beside the output as `<stem>.rejects.parquet` by default."""
    profile: Path | None = option(None, panel="Output", identity=False)
    """Also write a profile of the rewards that the rows record (pivot sets with pass rates), for `filter`."""


class DeskConfig(Config):
    """Write expert trajectories of the embedded service desk, as OpenAI chat JSONL."""

    n: int = option(128, "-n", ge=1)
    """Number of trajectories."""
    seed: int = option(0, ge=0)
    """Seed of the tasks and of the expert's style."""
    min_turns: int = option(5, ge=5, le=18)
    """Only tasks for which the expert needs so many turns; 12 or more are a fifth of all."""
    output: str = option("-", "-o", metavar="FILE", identity=False)
    """Output file; `-` writes to standard output."""


class ExportConfig(StageConfig):
    """Hand pivots to another trainer: a folder in its form, with the reward file or the config that goes with it."""

    pivots: str = argument()
    """Pivots table; candidates or a profile will do. `-` reads standard input."""
    to: str = option(..., metavar="TARGET", identity="name")
    """Target: `nemo-gym`, `trl`, `verl`, `openai` (fine-tuning on the demonstrations), or `module:Class`."""
    output: str = option("", "-o", panel="Output", metavar="FOLDER", required=True, identity=False)
    """Folder to write."""
    model: str | None = option(None, metavar="MODEL", identity="name")
    """Targets trl and verl: render the prompts, tools included, with the chat template of this model folder, hub name
    or `desk`; by default they stay messages."""
    verifier: str | None = option(None, metavar="NAME", identity="name")
    """Have this verifier score instead of the one that the pivots name."""
