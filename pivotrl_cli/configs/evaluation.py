"""Policies on benchmarks: eval, import-eval, compare."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pivotrl_cli.configs.base import Config, StageConfig, argument, option
from pivotrl_cli.configs.shared import EngineConfig, JudgeConfig


class EvalConfig(EngineConfig, JudgeConfig, StageConfig):
    """Score a policy on benchmarks: one row per task and trial."""

    benchmarks: list[str] = argument()
    """Benchmarks: `desk`, `skills`, or `pivots:FILE` for held-out candidates."""
    limit: int | None = Field(None, ge=1)
    """Tasks per benchmark; all by default."""
    trials: int = Field(1, ge=1)
    """Repetitions of each task, each with its own seed."""
    split: Literal["test", "val"] = "test"
    """Tasks to take, where a benchmark has several splits."""
    temperature: float = Field(1.0, ge=0.0)
    """Sampling temperature; 0 is greedy."""
    max_new_tokens: int = Field(256, ge=1)
    """Longest completion in tokens."""
    max_turns: int = Field(40, ge=1)
    """Most assistant turns in one episode."""
    max_error_rate: float = option(0.05, identity=False, ge=0.0, le=1.0)
    """Exit with 1 if more than this share of the rows could not be measured."""
    seed: int = Field(0, ge=0)
    """Seed of all samples."""


class ImportConfig(StageConfig):
    """Read the results of another harness into an eval table, and compare the means with the harness's own."""

    sources: list[str] = argument()
    """Result files, folders or globs of one model."""
    format: str = "auto"
    """Harness that wrote them; `auto` recognises it by content."""
    metric: str | None = None
    """Metric or scorer to take, by the harness's name for it; its first by default."""
    model: str | None = None
    """Where there are several models: the one to take."""
    benchmark: str | None = None
    """Call the benchmark this, where there is only one."""
    max_error_rate: float = option(0.05, identity=False, ge=0.0, le=1.0)
    """Exit with 1 if more than this share of the rows was not measured or could not be read."""


class CompareConfig(Config):
    """Put evaluations of the same tasks side by side, with paired differences to the first."""

    results: list[str] = argument()
    """Eval tables; the first is the baseline."""
    names: str | None = None
    """Comma-separated names for the columns; the file names by default."""
    in_domain: str | None = None
    """Comma-separated benchmarks (`*` matches) that are in the domain trained on; the others are out of it."""
    ood: str | None = None
    """Comma-separated benchmarks that are out of domain; with `--in-domain` too, the rest belongs to neither mean."""
    flips: int = Field(0, ge=0)
    """Name this many items that each model lost, and as many that it won, per benchmark."""
    max_regression: float | None = Field(None, ge=0.0, le=1.0)
    """Exit with 1 if on any benchmark a model's mean paired difference to the first is below minus this share (0.02 is
    two points) with p < 0.05, whether errors are left out or count as 0; or if it lacks items."""
    draws: int = Field(10000, ge=100)
    """Random sign changes of the paired test, where there are too many clusters to try them all."""
    seed: int = Field(0, ge=0)
    """Seed of the paired test."""
    format: Literal["table", "markdown", "json"] = "table"
    """How to print."""
