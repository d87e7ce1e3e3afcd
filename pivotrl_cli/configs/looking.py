"""What is there: inspect, report, doctor."""

from __future__ import annotations

from pathlib import Path

from pivotrl_cli.configs.base import Config, StageConfig, argument, option


class InspectConfig(Config):
    """Look at any table, even while a stage writes it: what it is, where it came from, its numbers and its rows."""

    file: str = argument()
    """Any table that pivotrl wrote or is writing, or the folder of a training run; `-` reads standard input."""
    where: str | None = option(None, panel="Rows", metavar="SQL")
    """Look only at rows for which this SQL condition on the table's columns is true, such as `reward_mean < 0.5`."""
    row: str | None = option(None, panel="Rows", metavar="ID")
    """Show the row with this candidate id, task id or step; the beginning of an id will do."""
    sample: int | None = option(None, panel="Rows", ge=1)
    """Show this many rows, drawn at random."""
    trajectory: str | None = option(None, panel="Rows", metavar="ID")
    """Show this trajectory in the pager, with its pass rates turn by turn; the beginning of its id will do."""
    disagreements: int | None = option(None, panel="Rows", ge=1)
    """Show this many completions that the verifier refused though they are like the demonstration, and as many that it
    accepted though they are not."""
    messages: int = option(6, panel="Output", ge=1)
    """How many of a state's last messages to show."""
    seed: int = option(0, panel="Rows", ge=0)
    """Seed of `--sample`."""
    candidates: Path | None = option(None, panel="Output", identity=False)
    """Of a profile that is still being made: its candidates table, where that is not beside it."""
    json_summary: bool = option(False, "--json", panel="Output", identity=False)
    """Print what is shown as one JSON object on standard output."""


class ReportConfig(StageConfig):
    """Show a run on one page that needs no network: funnel, pass rates, trajectories, training, evaluations."""

    folder: str = argument()
    """Folder with the tables of a run, at any depth, finished or not."""
    output: str = option("report.html", "-o", panel="Output", metavar="FILE", identity=False)
    """The page; `-` writes it to standard output."""
    trajectories: int = option(2000, ge=1)
    """Most trajectories of a profile to show turn by turn, spread evenly over it."""
    baseline: str | None = option(None, metavar="NAME")
    """Evaluation that the others are compared with; by default the first with `base` in its name, else the first."""


class DoctorConfig(Config):
    """Say what works here and what to install for the rest."""

    json_summary: bool = option(False, "--json", identity=False)
    """Print what was found as one JSON object on standard output."""
