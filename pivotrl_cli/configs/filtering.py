"""Config of filter."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from pivotrl_cli.configs.base import StageConfig, argument, option


class FilterConfig(StageConfig):
    """Keep the pivots: reward variance above zero and mean reward below a limit (paper, Eq. 5)."""

    profile: str = argument()
    """Profile table; `-` reads standard input."""
    rule: Literal["paper", "posterior", "signal"] = option("paper", panel="Rule")
    """Pivot rule. `paper`: rewards vary and their mean is in the window; `posterior`: the true pass rate is probably in
    the window; `signal`: the expected GRPO signal, sqrt(p (1 - p)), is large and the expected pass rate is in
    the window."""
    max_mean: float = option(0.6, panel="Rule", gt=0.0, le=1.0)
    """Upper end of the window: keep pass rates below this (the paper's lambda); 1 keeps every candidate with mixed
    rewards."""
    min_pass_rate: float | None = option(None, panel="Rule", ge=0.0, lt=1.0)
    """Lower end of the window: keep pass rates of at least this; default: none, 0.05 with `--rule posterior`."""
    level: float | None = option(None, panel="Rule", gt=0.0, lt=1.0)
    """With `--rule posterior`: minimum probability that the true pass rate is in the window; default: 0.5."""
    min_signal: float | None = option(None, panel="Rule", ge=0.0, le=0.5)
    """With `--rule signal`: minimum posterior mean of sqrt(p (1 - p)); default: 0.2, as for a pass rate of 4 %."""
    keep_all_zero: float = option(0.0, panel="Rule", ge=0.0, le=1.0)
    """Share of all-wrong candidates to keep despite the rule, drawn at random."""
    where: str | None = option(None, panel="Candidates", metavar="SQL")
    """SQL condition on the table's columns, such as `turn > 3`; other rows are dropped."""
    max_per_trajectory: int | None = option(None, panel="Limits", ge=1)
    """Maximum pivots per trajectory."""
    max_per_task: int | None = option(None, panel="Limits", ge=1)
    """Maximum pivots per task; a trajectory of unknown task is its own task."""
    max_message_ratio: float | None = option(None, panel="Limits", ge=0.0, lt=1.0)
    """Maximum share of messages (actions without a tool call) among the pivots."""
    balance: Literal["tool", "domain"] | None = option(None, panel="Limits")
    """Divide `--limit` equally among tools or domains, as far as they have enough pivots."""
    limit: int | None = option(None, panel="Limits", ge=1)
    """Maximum number of pivots."""
    select: Literal["top", "random", "stratified"] = option("top", panel="Limits")
    """Pivots that the limits keep: the highest by the rule, random ones, or equally many from each tenth of the pass
    rate."""
    control: Literal["random", "random-tools"] | None = option(None, panel="Control")
    """Write a random control set instead: as many scored candidates as would be kept, in total (`random`) or per
    tool (`random-tools`)."""
    split: Literal["train", "holdout", "all"] = option("train", panel="Candidates")
    """Split to select from."""
    model: str | None = option(None, panel="Candidates", metavar="MODEL", identity=False)
    """Fail unless the profile is of this model (folder, hub name or `desk`)."""
    dropped: Path | None = option(None, panel="Output", identity=False)
    """Also write the dropped candidates, with reasons, to this file."""
    seed: int = option(0, panel="Limits", ge=0)
    """Random seed."""
    dry_run: bool = option(False, panel="Output", cli_only=True, identity=False)
    """Print the funnel and write nothing, whatever `-o` and `--dropped` say."""
    output: str | None = option("-", "-o", panel="Output", metavar="FILE", identity=False)  # type: ignore[assignment]
    """Output file; `-` writes Parquet to standard output."""

    @model_validator(mode="before")
    @classmethod
    def _write_nothing(cls, given: dict[str, Any]) -> dict[str, Any]:
        return given | {"output": None, "dropped": None} if given.get("dry_run") else given
