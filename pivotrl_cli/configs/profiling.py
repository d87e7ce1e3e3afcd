"""Rollouts at candidates: profile, merge, score."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pivotrl_cli.configs.base import StageConfig, argument, option
from pivotrl_cli.configs.shared import EngineConfig, JudgeConfig


class ProfileConfig(EngineConfig, JudgeConfig, StageConfig):
    """Sample K one-turn rollouts at every candidate from a frozen policy and score them."""

    candidates: str = argument()
    """Candidates table; `-` reads standard input."""
    n: int = option(16, "-n", panel="Rollouts", ge=1)
    """Rollouts per candidate (the paper's K); the most of them with `--adaptive`."""
    adaptive: bool = option(False, panel="Adaptive")
    """Sample in rounds and stop at a candidate where the verdict of the pivot rule is clear, see docs/adaptive.md."""
    adaptive_max_mean: float = option(0.6, panel="Adaptive", gt=0.0, le=1.0)
    """With `--adaptive`: the `--max-mean` that filter will be given."""
    adaptive_level: float = option(0.88, panel="Adaptive", gt=0.5, le=1.0)
    """With `--adaptive`: probability of the verdict from which on it counts as clear."""
    temperature: float = option(1.0, panel="Rollouts", ge=0.0)
    """Sampling temperature; 0 is greedy."""
    max_new_tokens: int = option(256, panel="Rollouts", ge=1)
    """Longest completion in tokens."""
    verifier: str | None = option(None, panel="Rollouts", metavar="NAME", identity="name")
    """Score with this verifier instead of the one that the candidates name."""
    truncated: Literal["exclude", "zero"] = option("exclude", panel="Rollouts")
    """Completions cut by the token limit: leave them out of the pass rate, or reward 0."""
    split: Literal["train", "holdout", "all"] = option("all", panel="Candidates")
    """Which split to profile."""
    limit: int | None = option(None, panel="Candidates", ge=1)
    """Profile only this many candidates, spread evenly over the file."""
    seed: int = option(0, panel="Rollouts", ge=0)
    """Seed; each rollout's own seed derives from it, the candidate and the sample index."""
    window: int = option(512, panel="Candidates", ge=1)
    """Candidates that are sampled as one pool and make one row group, in whole trajectories; shards are made of whole
    windows."""
    shard: str | None = option(None, panel="Candidates", metavar="I/N", identity=False)
    """`I/N`: profile only part I of N (from 0), for `pivotrl merge`; each part is a run of whole trajectories."""
    max_retries: int = option(2, panel="Failures", identity=False, ge=0)
    """How often a rollout whose sampling failed is sampled again before it is recorded as an error; a run that goes on
    where another ended tries the recorded ones as often again."""
    max_error_rate: float = option(0.1, panel="Failures", identity=False, ge=0.0, le=1.0)
    """Stop with exit 1, keeping what is done, once more than this share of the rollouts so far stay failed after their
    retries, or none of the first attempts works; not looked at below 100 rollouts."""

    executor: Literal["local", "ray"] = option("local", panel="Ray", identity=False)
    """Where windows are sampled: in this process, or by Ray Data on workers that each hold the engine, see
    docs/scaling.md."""
    workers: int | None = option(None, panel="Ray", identity=False, ge=1)
    """With `--executor ray`: how many; by default as many as its GPUs are enough for, or one without GPUs."""
    ray_address: str | None = option(None, panel="Ray", metavar="ADDRESS", identity=False)
    """With `--executor ray`: a cluster, such as `auto` or `ray://HOST:10001`; this machine by default."""


class MergeConfig(StageConfig):
    """Put the shards of a profile together: the table that one run over all candidates would have written."""

    shards: list[str] = argument([], metavar="SHARD")
    """The tables that `pivotrl profile --shard 0/N` to `--shard N-1/N` wrote, in any order."""


class ScoreConfig(JudgeConfig, StageConfig):
    """Score recorded rollouts again, with other verifiers and no sampling; or audit what verifiers let through."""

    rollouts: str = argument()
    """Profile, training rollouts (with `--candidates`), or NeMo Gym rollouts (JSONL); candidates for an audit."""
    verifier: list[str] = option([], metavar="NAME", identity="name")
    """Verifier to score with; repeat it to compare several. By default the one that each candidate names."""
    candidates: Path | None = option(None, identity=False)
    """Pivots that training rollouts come from, or candidates of NeMo Gym rollouts that lack the demonstration."""
    audit: bool = option(False, shell=True)
    """Score wrong actions made on purpose at every candidate instead, and report what is accepted."""
    output: str | None = option(None, "-o", panel="Output", metavar="FILE", identity=False)  # type: ignore[assignment]
    """Write the profile with the first verifier's rewards here; nothing is written by default."""
