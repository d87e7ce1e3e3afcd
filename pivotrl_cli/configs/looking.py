"""Configs of inspect, report and doctor."""

from __future__ import annotations

from pivotrl_cli.configs.base import Config, StageConfig, argument, option
from pivotrl_cli.configs.shared import TemplateConfig


class InspectConfig(Config):
    """Show a table: provenance, numbers and rows; also the metrics of a training run in progress."""

    file: str = argument()
    """Any table that pivotrl wrote or is writing, or the folder of a training run; `-` reads standard input."""
    where: str | None = option(None, panel="Rows", metavar="SQL")
    """SQL condition on the table's columns, such as `reward_mean < 0.5`; show only these rows."""
    row: str | None = option(None, panel="Rows", metavar="ID")
    """Show the row with this candidate id, task id or step; a unique prefix is enough."""
    sample: int | None = option(None, panel="Rows", ge=1)
    """Show this many random rows."""
    trajectory: str | None = option(None, panel="Rows", metavar="ID")
    """Show this trajectory in the pager, with the pass rate of each turn; a unique prefix of its id is enough."""
    disagreements: int | None = option(None, panel="Rows", ge=1)
    """Show this many refused completions that resemble the demonstration, and as many accepted ones that do not."""
    messages: int = option(6, panel="Output", ge=1)
    """Number of last messages to show of each state."""
    seed: int = option(0, panel="Rows", ge=0)
    """Seed of `--sample`."""
    json_summary: bool = option(False, "--json", panel="Output", cli_only=True, identity=False)
    """Print the view as one JSON object on standard output."""


class ReportConfig(StageConfig):
    """Show a run on one HTML page that needs no network: funnel, pass rates, trajectories, training, evaluations."""

    folder: str = argument()
    """Folder with the tables of a run, at any depth, finished or not."""
    output: str = option("report.html", "-o", panel="Output", metavar="FILE", identity=False)
    """Output page; `-` writes it to standard output."""
    trajectories: int = option(2000, ge=1)
    """Maximum trajectories per profile to show turn by turn, spread evenly over it."""
    baseline: str | None = option(None, metavar="NAME")
    """Evaluation to compare the others with; default: the first with `base` in its name, else the first."""


class DoctorConfig(TemplateConfig, Config):
    """Check what works on this machine; with a model, how it writes, samples and trains."""

    model: str = argument("", required=False)
    """Model folder, hub name or `desk`; of a hub model everything but the weights is downloaded."""
    json_summary: bool = option(False, "--json", identity=False)
    """Print the findings as one JSON object on standard output."""
