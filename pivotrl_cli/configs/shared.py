"""Options that several commands have alike: the judge, and the policy with its engine."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pivotrl_cli.configs.base import Config, option


class JudgeConfig(Config):
    """The language model that the verifiers `judge` and `NAME+judge` ask."""

    judge_url: str | None = option(None, panel="Judge", metavar="URL", identity=False)
    """OpenAI-compatible server of the judge, such as http://127.0.0.1:8000/v1."""
    judge_model: str | None = option(None, panel="Judge", metavar="MODEL")
    """Model that judges, by the server's name for it."""
    judge_key_variable: str = option("OPENAI_API_KEY", panel="Judge", metavar="VARIABLE", identity=False)
    """Environment variable that holds the server's key."""
    max_judge_calls: int | None = option(None, panel="Judge", identity=False, ge=0)
    """Most requests to the judge in this run; cached answers are free, what remains unasked is an error."""
    judge_cache: Path | None = option(None, panel="Judge", identity=False)
    """SQLite file with the judge's answers; `pivotrl/judge.sqlite` in the user's cache folder by default."""


class EngineConfig(Config):
    """The policy that acts, and the engine that samples from it."""

    model: str = option("desk", panel="Engine", metavar="MODEL", identity="name")
    """Model folder, hub name, or `desk` for the policy that ships with the package."""
    engine: Literal["auto", "hf", "vllm", "endpoint", "replay"] = option("auto", panel="Engine", identity=False)
    """Engine that samples; `auto` takes vllm where it is installed and finds its device, else hf."""
    replay: Path | None = option(None, panel="Engine", identity=False)
    """With `--engine replay`: JSONL of `{"candidate_id": ..., "completions": [...]}`."""
    endpoint: str | None = option(None, panel="Engine", metavar="URL", identity=False)
    """With `--engine endpoint`: OpenAI-compatible server, such as http://127.0.0.1:8000/v1; `--model` is then the
    server's name for the model."""
    endpoint_api: Literal["chat", "completions"] = option("chat", panel="Engine", identity=False)
    """`chat`: the server renders the prompts and parses the tool calls; `completions`: both happen here, and the
    server gets token ids."""
    endpoint_key_variable: str = option("OPENAI_API_KEY", panel="Engine", metavar="VARIABLE", identity=False)
    """Environment variable that holds the server's key."""
    tokenizer: Path | None = option(None, panel="Engine", metavar="FOLDER", identity=False)
    """With `--endpoint-api completions`: folder of the model's tokenizer, where `--model` is not that folder."""
    endpoint_concurrency: int = option(16, panel="Engine", identity=False, ge=1)
    """Requests to the server under way at once."""
    endpoint_timeout: float = option(600.0, panel="Engine", identity=False, gt=0.0)
    """Seconds until the server's answer must have come."""
    endpoint_retries: int = option(5, panel="Engine", identity=False, ge=0)
    """Further tries of a request after a failure that may pass: 429, 5xx, a lost connection, no answer in time."""
    token_budget: int = option(131072, panel="Engine", ge=1)
    """Engine hf: most tokens that one batch may keep in its cache: prompts times (longest prompt + n times the new
    tokens). Over episodes, as much again may be kept of the last turn, and of this one."""
    device: str = option("auto", panel="Engine", metavar="DEVICE")
    """Torch device; `auto` takes the GPU if there is one."""
    dtype: Literal["auto", "float32", "bfloat16"] = option("auto", panel="Engine")
    """Number format; `auto` is bfloat16 on GPU and float32 on CPU."""
    tensor_parallel: int = option(1, panel="Engine", ge=1)
    """Engine vllm: GPUs that share one copy of the model."""
    engine_args: list[str] = option([], panel="Engine", metavar="KEY=VALUE", identity="key=name")
    """Engine vllm: `KEY=VALUE`, any further argument of its engine, such as `max_model_len=16384`. Repeatable."""
