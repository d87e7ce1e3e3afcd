"""The Python API, see docs/python.md. Made by tools/stubs.py from the configs: `make fix` writes it anew."""
# fmt: off

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import polars as pl

from pivotrl_cli.errors import PivotRLError as PivotRLError

__version__: str


def agreement(
    rollouts: str | Path | pl.DataFrame, *, verifier: str | Path | Sequence[str] = [],
    candidates: str | Path | None = None, judge_url: str | None = None, judge_model: str | None = None,
    judge_key_variable: str = 'OPENAI_API_KEY', max_judge_calls: int | None = None,
    judge_cache: str | Path | None = None,
) -> dict[str, Any]:
    """How verifiers agree on recorded rollouts: means, pairs, and the most telling disagreements."""

def audit(
    rollouts: str | Path | pl.DataFrame, *, verifier: str | Path | Sequence[str] = [],
    judge_url: str | None = None, judge_model: str | None = None, judge_key_variable: str = 'OPENAI_API_KEY',
    max_judge_calls: int | None = None, judge_cache: str | Path | None = None,
) -> dict[str, Any]:
    """What a verifier accepts of wrong actions made on purpose at every candidate."""

def compare(
    results: Mapping[str, str | Path | pl.DataFrame], *, in_domain: str | None = None, ood: str | None = None,
    draws: int = 10000, seed: int = 0,
) -> pl.DataFrame:
    """Evaluations side by side: `{"base": ..., "tuned": ...}`, the first being the baseline."""

def desk(
    *, output: str | Path, n: int = 128, seed: int = 0, min_turns: int = 5,
) -> Path:
    """Write expert trajectories of the embedded service desk as OpenAI chat JSONL; returns the path."""

@overload
def evaluate(
    benchmarks: str | pl.DataFrame | Sequence[str | Path | pl.DataFrame], *, output: None = None,
    user_url: str | None = None, user_model: str | None = None, user_temperature: float = 0.0,
    user_max_new_tokens: int = 1024, user_key_variable: str = 'OPENAI_API_KEY', limit: int | None = None,
    trials: int = 1, split: Literal["test", "val", "all"] = 'test', temperature: float = 1.0, top_p: float = 1.0,
    top_k: int | None = None, max_new_tokens: int = 256, max_turns: int = 40, concurrency: int = 512,
    exact_resume: bool = False, timings: bool = False, max_error_rate: float = 0.05, seed: int = 0,
    model: str | Path = 'desk', engine: Literal["auto", "hf", "vllm", "endpoint", "replay"] = 'auto',
    replay: str | Path | None = None, endpoint: str | None = None,
    endpoint_api: Literal["chat", "completions"] = 'chat', endpoint_key_variable: str = 'OPENAI_API_KEY',
    tokenizer: str | Path | None = None, endpoint_concurrency: int = 16, endpoint_timeout: float = 600.0,
    endpoint_retries: int = 5, token_budget: int = 131072, device: str = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] = 'auto', tensor_parallel: int = 1,
    engine_args: str | Sequence[str] = [], judge_url: str | None = None, judge_model: str | None = None,
    judge_key_variable: str = 'OPENAI_API_KEY', max_judge_calls: int | None = None,
    judge_cache: str | Path | None = None, force: bool = False,
) -> pl.DataFrame:
    """Score a policy on benchmarks, one row per task and trial; a frame of candidates stands for `pivots:` of it."""

@overload
def evaluate(
    benchmarks: str | pl.DataFrame | Sequence[str | Path | pl.DataFrame], *, output: str | Path,
    user_url: str | None = None, user_model: str | None = None, user_temperature: float = 0.0,
    user_max_new_tokens: int = 1024, user_key_variable: str = 'OPENAI_API_KEY', limit: int | None = None,
    trials: int = 1, split: Literal["test", "val", "all"] = 'test', temperature: float = 1.0, top_p: float = 1.0,
    top_k: int | None = None, max_new_tokens: int = 256, max_turns: int = 40, concurrency: int = 512,
    exact_resume: bool = False, timings: bool = False, max_error_rate: float = 0.05, seed: int = 0,
    model: str | Path = 'desk', engine: Literal["auto", "hf", "vllm", "endpoint", "replay"] = 'auto',
    replay: str | Path | None = None, endpoint: str | None = None,
    endpoint_api: Literal["chat", "completions"] = 'chat', endpoint_key_variable: str = 'OPENAI_API_KEY',
    tokenizer: str | Path | None = None, endpoint_concurrency: int = 16, endpoint_timeout: float = 600.0,
    endpoint_retries: int = 5, token_budget: int = 131072, device: str = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] = 'auto', tensor_parallel: int = 1,
    engine_args: str | Sequence[str] = [], judge_url: str | None = None, judge_model: str | None = None,
    judge_key_variable: str = 'OPENAI_API_KEY', max_judge_calls: int | None = None,
    judge_cache: str | Path | None = None, force: bool = False,
) -> Path:
    """Score a policy on benchmarks, one row per task and trial; a frame of candidates stands for `pivots:` of it."""

def export(
    pivots: str | Path | pl.DataFrame, *, output: str | Path, to: str | Path, verifier: str | Path | None = None,
    model: str | Path | None = None, force: bool = False,
) -> Path:
    """Write a folder for another trainer; returns it."""

@overload
def extract(
    sources: str | Path | Sequence[str | Path] | Sequence[dict[str, Any]], *, output: None = None,
    format: str = 'auto', verifier: str | Path = 'tool_call', verifier_for: str | Sequence[str] = [],
    tools: str | Path | None = None, system: str | Path | None = None, only_successful: bool = False,
    success_threshold: float = 1.0, min_outcome: float | None = None, dedup: bool = False,
    check_against: str | Path | None = None, drop_contaminated: bool = False, holdout: float = 0.0, seed: int = 0,
    limit: int | None = None, rejects: str | Path | None = None, profile: str | Path | None = None,
    force: bool = False,
) -> pl.DataFrame:
    """Turn trajectories into candidates, one row per assistant turn."""

@overload
def extract(
    sources: str | Path | Sequence[str | Path] | Sequence[dict[str, Any]], *, output: str | Path,
    format: str = 'auto', verifier: str | Path = 'tool_call', verifier_for: str | Sequence[str] = [],
    tools: str | Path | None = None, system: str | Path | None = None, only_successful: bool = False,
    success_threshold: float = 1.0, min_outcome: float | None = None, dedup: bool = False,
    check_against: str | Path | None = None, drop_contaminated: bool = False, holdout: float = 0.0, seed: int = 0,
    limit: int | None = None, rejects: str | Path | None = None, profile: str | Path | None = None,
    force: bool = False,
) -> Path:
    """Turn trajectories into candidates, one row per assistant turn."""

@overload
def filter(
    profile: str | Path | pl.DataFrame, *, output: None = None,
    rule: Literal["paper", "posterior", "signal"] = 'paper', max_mean: float = 0.6,
    min_pass_rate: float | None = None, level: float | None = None, min_signal: float | None = None,
    keep_all_zero: float = 0.0, where: str | None = None, max_per_trajectory: int | None = None,
    max_per_task: int | None = None, max_message_ratio: float | None = None,
    balance: Literal["tool", "domain"] | None = None, limit: int | None = None,
    select: Literal["top", "random", "stratified"] = 'top',
    control: Literal["random", "random-tools"] | None = None, split: Literal["train", "holdout", "all"] = 'train',
    dropped: str | Path | None = None, seed: int = 0, model: str | None = None, force: bool = False,
) -> pl.DataFrame:
    """Keep the pivots; `left_out` of the frame has the others."""

@overload
def filter(
    profile: str | Path | pl.DataFrame, *, output: str | Path,
    rule: Literal["paper", "posterior", "signal"] = 'paper', max_mean: float = 0.6,
    min_pass_rate: float | None = None, level: float | None = None, min_signal: float | None = None,
    keep_all_zero: float = 0.0, where: str | None = None, max_per_trajectory: int | None = None,
    max_per_task: int | None = None, max_message_ratio: float | None = None,
    balance: Literal["tool", "domain"] | None = None, limit: int | None = None,
    select: Literal["top", "random", "stratified"] = 'top',
    control: Literal["random", "random-tools"] | None = None, split: Literal["train", "holdout", "all"] = 'train',
    dropped: str | Path | None = None, seed: int = 0, model: str | None = None, force: bool = False,
) -> Path:
    """Keep the pivots; `left_out` of the frame has the others."""

@overload
def import_eval(
    sources: str | Path | Sequence[str | Path], *, output: None = None, format: str = 'auto',
    metric: str | None = None, benchmark: str | None = None, max_error_rate: float = 0.05,
    model: str | None = None, force: bool = False,
) -> pl.DataFrame:
    """Read the results of another harness into an eval table."""

@overload
def import_eval(
    sources: str | Path | Sequence[str | Path], *, output: str | Path, format: str = 'auto',
    metric: str | None = None, benchmark: str | None = None, max_error_rate: float = 0.05,
    model: str | None = None, force: bool = False,
) -> Path:
    """Read the results of another harness into an eval table."""

def left_out(
    frame: pl.DataFrame,
) -> pl.DataFrame:
    """What the stage that returned this frame left out, with the reasons: rejects of `extract`, dropped of `filter`."""

def lineage(
    table: str | Path | pl.DataFrame,
) -> dict[str, Any]:
    """Provenance: command, config, inputs with theirs, fingerprints."""

@overload
def merge(
    shards: Sequence[str | Path | pl.DataFrame], *, output: None = None, force: bool = False,
) -> pl.DataFrame:
    """Put the shards of a profile together."""

@overload
def merge(
    shards: Sequence[str | Path | pl.DataFrame], *, output: str | Path, force: bool = False,
) -> Path:
    """Put the shards of a profile together."""

@overload
def profile(
    candidates: str | Path | pl.DataFrame, *, output: None = None, n: int = 16, adaptive: bool = False,
    adaptive_max_mean: float = 0.6, adaptive_level: float = 0.88, temperature: float = 1.0,
    max_new_tokens: int = 256, verifier: str | Path | None = None,
    truncated: Literal["exclude", "zero"] = 'exclude', split: Literal["train", "holdout", "all"] = 'all',
    limit: int | None = None, seed: int = 0, window: int = 512, shard: str | None = None, max_retries: int = 2,
    max_error_rate: float = 0.1, executor: Literal["local", "ray"] = 'local', workers: int | None = None,
    ray_address: str | None = None, model: str | Path = 'desk',
    engine: Literal["auto", "hf", "vllm", "endpoint", "replay"] = 'auto', replay: str | Path | None = None,
    endpoint: str | None = None, endpoint_api: Literal["chat", "completions"] = 'chat',
    endpoint_key_variable: str = 'OPENAI_API_KEY', tokenizer: str | Path | None = None,
    endpoint_concurrency: int = 16, endpoint_timeout: float = 600.0, endpoint_retries: int = 5,
    token_budget: int = 131072, device: str = 'auto', dtype: Literal["auto", "float32", "bfloat16"] = 'auto',
    tensor_parallel: int = 1, engine_args: str | Sequence[str] = [], judge_url: str | None = None,
    judge_model: str | None = None, judge_key_variable: str = 'OPENAI_API_KEY',
    max_judge_calls: int | None = None, judge_cache: str | Path | None = None, force: bool = False,
) -> pl.DataFrame:
    """Sample rollouts at every candidate from a frozen policy and score them."""

@overload
def profile(
    candidates: str | Path | pl.DataFrame, *, output: str | Path, n: int = 16, adaptive: bool = False,
    adaptive_max_mean: float = 0.6, adaptive_level: float = 0.88, temperature: float = 1.0,
    max_new_tokens: int = 256, verifier: str | Path | None = None,
    truncated: Literal["exclude", "zero"] = 'exclude', split: Literal["train", "holdout", "all"] = 'all',
    limit: int | None = None, seed: int = 0, window: int = 512, shard: str | None = None, max_retries: int = 2,
    max_error_rate: float = 0.1, executor: Literal["local", "ray"] = 'local', workers: int | None = None,
    ray_address: str | None = None, model: str | Path = 'desk',
    engine: Literal["auto", "hf", "vllm", "endpoint", "replay"] = 'auto', replay: str | Path | None = None,
    endpoint: str | None = None, endpoint_api: Literal["chat", "completions"] = 'chat',
    endpoint_key_variable: str = 'OPENAI_API_KEY', tokenizer: str | Path | None = None,
    endpoint_concurrency: int = 16, endpoint_timeout: float = 600.0, endpoint_retries: int = 5,
    token_budget: int = 131072, device: str = 'auto', dtype: Literal["auto", "float32", "bfloat16"] = 'auto',
    tensor_parallel: int = 1, engine_args: str | Sequence[str] = [], judge_url: str | None = None,
    judge_model: str | None = None, judge_key_variable: str = 'OPENAI_API_KEY',
    max_judge_calls: int | None = None, judge_cache: str | Path | None = None, force: bool = False,
) -> Path:
    """Sample rollouts at every candidate from a frozen policy and score them."""

def read(
    path: str | Path,
) -> pl.DataFrame:
    """Read any table; given to a stage unchanged, it counts as that file, provenance included."""

@overload
def score(
    rollouts: str | Path | pl.DataFrame, *, output: None = None, verifier: str | Path | Sequence[str] = [],
    candidates: str | Path | None = None, judge_url: str | None = None, judge_model: str | None = None,
    judge_key_variable: str = 'OPENAI_API_KEY', max_judge_calls: int | None = None,
    judge_cache: str | Path | None = None, force: bool = False,
) -> pl.DataFrame:
    """The profile with the rewards of another verifier, nothing sampled."""

@overload
def score(
    rollouts: str | Path | pl.DataFrame, *, output: str | Path, verifier: str | Path | Sequence[str] = [],
    candidates: str | Path | None = None, judge_url: str | None = None, judge_model: str | None = None,
    judge_key_variable: str = 'OPENAI_API_KEY', max_judge_calls: int | None = None,
    judge_cache: str | Path | None = None, force: bool = False,
) -> Path:
    """The profile with the rewards of another verifier, nothing sampled."""

def summary(
    table: str | Path | pl.DataFrame,
) -> dict[str, Any]:
    """What the stage that made a table, or a folder, said of it: the numbers of `--json`."""

def train(
    pivots: str | Path | pl.DataFrame, *, output: str | Path, method: Literal["grpo", "sft", "e2e"] = 'grpo',
    steps: int = 60, prompts_per_step: int = 16, group_size: int = 8, environment: str | Path | None = None,
    max_turns: int = 40, learning_rate: float = 1e-06, schedule: Literal["constant", "cosine"] = 'constant',
    warmup_steps: int = 0, weight_decay: float = 0.0, max_grad_norm: float = 1.0,
    skip_grad_norm: float | None = None, loss: Literal["grpo", "dapo", "dr_grpo", "gspo", "cispo"] = 'dapo',
    advantage: Literal["group", "leave_one_out", "no_std"] = 'group', importance_cap: float | None = None,
    clip_low: float = 0.2, clip_high: float = 0.2, kl_coef: float = 0.0, updates_per_batch: int = 1,
    temperature: float = 1.0, max_new_tokens: int = 256, truncated: Literal["exclude", "zero"] = 'exclude',
    max_refills: int = 4, max_empty_steps: int = 3, reprofile_every: int | None = None,
    reprofile_below: float | None = None, reprofile_pivots: int = 32,
    invalid_tool_call_advantage: float | None = None, malformed_thinking_advantage: float | None = None,
    verifier: str | Path | None = None, allow_foreign_profile: bool = False, seed: int = 0,
    checkpoint_every: int = 20, save_every: int = 0, sampler: Literal["hf", "vllm", "vllm-server"] = 'hf',
    log_to: str | Sequence[str] = [], lora_rank: int | None = None, lora_alpha: float | None = None,
    lora_targets: str | Sequence[str] = ['all-linear'], lora_output: Literal["merged", "adapter"] = 'merged',
    keep: int = 2, layout: Literal["tree", "plain"] = 'tree', sample_token_budget: int = 131072,
    replicas: int = 1, sequence_parallel: int = 1, model: str | Path = 'desk', token_budget: int = 16384,
    endpoint: str | None = None, endpoint_concurrency: int = 64, endpoint_timeout: float = 600.0,
    engine_args: str | Sequence[str] = [], device: str = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] = 'auto', judge_url: str | None = None,
    judge_model: str | None = None, judge_key_variable: str = 'OPENAI_API_KEY',
    max_judge_calls: int | None = None, judge_cache: str | Path | None = None, force: bool = False,
) -> Path:
    """Train a policy on the pivots; returns the model's folder, which has `metrics.parquet` and `rollouts.parquet`."""

def write(
    frame: pl.DataFrame, path: str | Path, *, derived_from: str | Path | pl.DataFrame | None = None,
) -> Path:
    """Write a frame; returns the path."""
