"""Configs of profile, merge and score."""

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
    """Rollouts per candidate (the paper's K); the upper limit with `--adaptive`."""
    adaptive: bool = option(False, panel="Adaptive")
    """Sample in rounds, and stop at a candidate as soon as the decision to keep or drop it is clear; see
    docs/adaptive.md."""
    adaptive_max_mean: float = option(0.6, panel="Adaptive", gt=0.0, le=1.0)
    """With `--adaptive` or `--prescreen`: the `--max-mean` that filter will use."""
    adaptive_level: float = option(0.88, panel="Adaptive", gt=0.5, le=1.0)
    """With `--adaptive`: stop when the decision has this probability."""
    prescreen: float | None = option(None, panel="Adaptive", metavar="SHARE", gt=0.0, lt=1.0)
    """Leave out this share of each window's candidates: those at whose demonstrated action the policy is surest, by one
    forward pass; see docs/adaptive.md."""
    prescreen_audit: float = option(0.05, panel="Adaptive", ge=0.0, le=1.0)
    """With `--prescreen`: sample this share of the candidates left out all the same, to estimate the lost pivots."""
    temperature: float = option(1.0, panel="Rollouts", ge=0.0)
    """Sampling temperature; 0 is greedy."""
    max_new_tokens: int = option(256, panel="Rollouts", ge=1)
    """Maximum new tokens per completion."""
    verifier: str | None = option(None, panel="Rollouts", metavar="NAME", identity="name")
    """Use this verifier instead of the one named in the candidates."""
    truncated: Literal["exclude", "zero"] = option("exclude", panel="Rollouts")
    """Completions cut by the token limit: exclude them from the pass rate, or give them reward 0."""
    split: Literal["train", "holdout", "all"] = option("all", panel="Candidates")
    """Split to profile."""
    limit: int | None = option(None, panel="Candidates", ge=1)
    """Maximum number of candidates, spread evenly over the file."""
    seed: int = option(0, panel="Rollouts", ge=0)
    """Random seed; the seed of each rollout derives from it, the candidate and the sample index."""
    window: int = option(512, panel="Candidates", ge=1)
    """Candidates sampled as one pool and written as one row group, in whole trajectories; shards consist of whole
    windows."""
    shard: str | None = option(None, panel="Candidates", metavar="I/N", identity=False)
    """`I/N`: profile only shard I (from 0) of N, in whole trajectories; `pivotrl merge` combines the shards."""
    max_retries: int = option(2, panel="Failures", identity=False, ge=0)
    """Retries of a failed rollout before it is recorded as an error; a resumed run retries recorded errors as often
    again."""
    max_error_rate: float = option(0.1, panel="Failures", identity=False, ge=0.0, le=1.0)
    """Abort (exit 1, progress kept) when more than this share of rollouts still fails after retries, checked from the
    100th rollout, or when no first attempt succeeds."""

    executor: Literal["local", "ray"] = option("local", panel="Ray", identity=False)
    """Where to sample: in this process, or with Ray Data on workers that each hold an engine; see docs/scaling.md."""
    workers: int | None = option(None, panel="Ray", identity=False, ge=1)
    """With `--executor ray`: number of workers; default: one per GPU of the cluster, or one without GPUs."""
    ray_address: str | None = option(None, panel="Ray", metavar="ADDRESS", identity=False)
    """With `--executor ray`: address of the cluster, such as `auto` or `ray://HOST:10001`; default: this machine."""


class MergeConfig(StageConfig):
    """Merge the shards of a profile into the table that one run over all candidates would have written."""

    shards: list[str] = argument([], metavar="SHARD")
    """Tables written by `pivotrl profile --shard 0/N` to `--shard N-1/N`, in any order."""


class ScoreConfig(JudgeConfig, StageConfig):
    """Score recorded rollouts with other verifiers, without sampling; or audit what a verifier accepts."""

    rollouts: str = argument()
    """Profile, training rollouts (with `--candidates`), or NeMo Gym rollouts (JSONL); candidates for an audit."""
    verifier: list[str] = option([], metavar="NAME", identity="name")
    """Verifier to score with; default: the one named in each candidate. Repeat it to compare verifiers."""
    candidates: Path | None = option(None, identity=False)
    """Pivots that the training rollouts belong to, or candidates for NeMo Gym rollouts without demonstration."""
    audit: bool = option(False, cli_only=True)
    """Score deliberately wrong actions at every candidate instead, and report those that are accepted."""
    output: str | None = option(None, "-o", panel="Output", metavar="FILE", identity=False)  # type: ignore[assignment]
    """Write the profile with the first verifier's rewards to this file; default: write nothing."""
