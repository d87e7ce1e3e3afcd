"""Commands that show: inspect, report, doctor."""

from __future__ import annotations

from pivotrl_cli.configs.base import Config, StageConfig, argument, option


class InspectConfig(Config):
    """Look at any table: where it came from, its numbers and its rows; metrics even while the training run goes on."""

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
    """Show this many completions that the verifier refused although they resemble the demonstration, and as many that
    it accepted although they do not."""
    messages: int = option(6, panel="Output", ge=1)
    """Messages to show of each state, counted from its end."""
    seed: int = option(0, panel="Rows", ge=0)
    """Seed of `--sample`."""
    json_summary: bool = option(False, "--json", panel="Output", shell=True, identity=False)
    """Print the view as one JSON object on standard output."""


class ReportConfig(StageConfig):
    """Show a run on one page that needs no network: funnel, pass rates, trajectories, training, evaluations."""

    folder: str = argument()
    """Folder with the tables of a run, at any depth, finished or not."""
    output: str = option("report.html", "-o", panel="Output", metavar="FILE", identity=False)
    """The page; `-` writes it to standard output."""
    trajectories: int = option(2000, ge=1)
    """Maximum trajectories of a profile to show turn by turn, spread evenly over it."""
    baseline: str | None = option(None, metavar="NAME")
    """Evaluation to compare the others with; by default the first with `base` in its name, else the first."""


class DoctorConfig(Config):
    """Check what works on this machine and what to install for the rest."""

    json_summary: bool = option(False, "--json", identity=False)
    """Print the findings as one JSON object on standard output."""
