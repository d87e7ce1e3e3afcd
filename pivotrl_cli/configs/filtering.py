"""Which candidates are pivots: filter."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from pivotrl_cli.configs.base import StageConfig, argument, option


class FilterConfig(StageConfig):
    """Keep the pivots: reward variance above zero and mean below the limit (paper, Eq. 5)."""

    profile: str = argument()
    """Profile table; `-` reads standard input."""
    rule: Literal["paper", "posterior", "signal"] = option("paper", panel="Rule")
    """What makes a pivot. `paper`: the rewards vary and their mean is in the window; `posterior`: the true pass rate is
    probably in the window; `signal`: the expected GRPO signal is large and the expected rate in the window."""
    max_mean: float = option(0.6, panel="Rule", gt=0.0, le=1.0)
    """Upper end of the window: the pass rate is below this (the paper's lambda); 1 keeps every mixed one."""
    min_pass_rate: float | None = option(None, panel="Rule", ge=0.0, lt=1.0)
    """Lower end of the window: the pass rate is at least this; none by default, 0.05 with `--rule posterior`."""
    level: float | None = option(None, panel="Rule", gt=0.0, lt=1.0)
    """With `--rule posterior`: least probability that the true rate is in the window; 0.5 by default."""
    min_signal: float | None = option(None, panel="Rule", ge=0.0, le=0.5)
    """With `--rule signal`: least posterior mean of sqrt(p (1 - p)); 0.2 by default, the signal at a rate of 0.04."""
    keep_all_zero: float = option(0.0, panel="Rule", ge=0.0, le=1.0)
    """Share of the candidates whose every reward is 0 that is kept against the rule, drawn at random."""
    where: str | None = option(None, panel="Candidates", metavar="SQL")
    """Keep only rows for which this SQL condition on the table's columns is true, such as `turn > 3`."""
    max_per_trajectory: int | None = option(None, panel="Limits", ge=1)
    """Most pivots from one trajectory."""
    max_per_task: int | None = option(None, panel="Limits", ge=1)
    """Most pivots from one task; a trajectory whose task is unknown is its own."""
    max_message_ratio: float | None = option(None, panel="Limits", ge=0.0, lt=1.0)
    """Most messages (actions without a tool call) among the pivots, as a share."""
    balance: Literal["tool", "domain"] | None = option(None, panel="Limits")
    """Share `--limit` equally among tools or domains, as far as they reach."""
    limit: int | None = option(None, panel="Limits", ge=1)
    """Most pivots in all."""
    select: Literal["top", "random", "stratified"] = option("top", panel="Limits")
    """Which ones the limits keep: the highest by the rule, any at random, or equally many from each tenth of the pass
    rate as far as they reach."""
    control: Literal["random", "random-tools"] | None = option(None, panel="Control")
    """Write a random control instead: as many scored candidates as would be kept, or as many of each tool."""
    split: Literal["train", "holdout", "all"] = option("train", panel="Candidates")
    """Which split to select from."""
    model: str | None = option(None, panel="Candidates", metavar="MODEL", identity=False)
    """Refuse a profile of another model than this folder, hub name or `desk`."""
    dropped: Path | None = option(None, panel="Output", identity=False)
    """Also write the dropped candidates with their reasons to this file."""
    seed: int = option(0, panel="Limits", ge=0)
    """Seed of everything drawn at random."""
    dry_run: bool = option(False, panel="Output", shell=True, identity=False)
    """Print the funnel and write nothing, whatever `-o` and `--dropped` say."""
    output: str | None = option("-", "-o", panel="Output", metavar="FILE", identity=False)  # type: ignore[assignment]
    """Output file; `-` writes Parquet to standard output."""

    @model_validator(mode="before")
    @classmethod
    def _write_nothing(cls, given: dict[str, Any]) -> dict[str, Any]:
        return given | {"output": None, "dropped": None} if given.get("dry_run") else given
