"""Options that several commands share: the judge, the templates, and the policy with its engine."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pivotrl_cli.configs.base import Config, option


class JudgeConfig(Config):
    """The language model behind the verifiers `judge` and `NAME+judge`."""

    judge_url: str | None = option(None, panel="Judge", metavar="URL", identity=False)
    """Base URL of the judge's OpenAI-compatible server, such as http://127.0.0.1:8000/v1."""
    judge_model: str | None = option(None, panel="Judge", metavar="MODEL")
    """Name of the judge model on its server."""
    judge_key_variable: str = option("OPENAI_API_KEY", panel="Judge", metavar="VARIABLE", identity=False)
    """Environment variable that holds the API key of the judge."""
    max_judge_calls: int | None = option(None, panel="Judge", identity=False, ge=0)
    """Maximum requests to the judge in this run; cached answers are free, and rollouts beyond the limit become
    errors."""
    judge_cache: Path | None = option(None, panel="Judge", identity=False)
    """SQLite file that caches the judge's answers; default: `pivotrl/judge.sqlite` in the user's cache folder."""


class TemplateConfig(Config):
    """How a model is written to and read, where its folder does not say it."""

    chat_template: Path | None = option(None, panel="Templates", metavar="FILE", identity=False)
    """Jinja file to use instead of the model's own chat template, for models whose template has no tools."""
    response_template: Path | None = option(None, panel="Templates", metavar="FILE", identity=False)
    """TOML or JSON file that says how the model writes reasoning and calls, where no known format fits."""


class PolicyConfig(TemplateConfig):
    """The policy, and what every engine that samples from it needs: for profile, eval and train."""

    model: str = option("desk", panel="Engine", metavar="MODEL", identity="name")
    """Model folder, hub name, or `desk` for the policy that ships with the package."""
    endpoint: str | None = option(None, panel="Engine", metavar="URL", identity=False)
    """Base URL of a server, such as http://127.0.0.1:8000/v1. Engine endpoint: any OpenAI-compatible one, with
    `--model` as the model's name there; engine vllm-server: one that can read train's output folder."""
    endpoint_concurrency: int = option(16, panel="Engine", identity=False, ge=1)
    """Maximum concurrent requests to the server, per process."""
    endpoint_timeout: float = option(600.0, panel="Engine", identity=False, gt=0.0)
    """Request timeout in seconds."""
    sample_token_budget: int = option(131072, panel="Engine", ge=1)
    """Engine hf: maximum tokens in the KV cache of one batch: prompts x (longest prompt + n x new tokens). Episodes may
    keep as much again for the last turn and for the current one."""
    device: str = option("auto", panel="Engine", metavar="DEVICE")
    """Torch device; `auto` uses the GPU if there is one."""
    dtype: Literal["auto", "float32", "bfloat16"] = option("auto", panel="Engine")
    """Weight and activation type; `auto` is bfloat16 on GPU and float32 on CPU."""
    engine_args: list[str] = option([], panel="Engine", metavar="KEY=VALUE", identity="key=name")
    """Engine vllm: `KEY=VALUE`, any other engine argument, such as `max_model_len=16384`. Repeatable."""


class EngineConfig(PolicyConfig):
    """The policy, and the engine that samples from it while it is frozen."""

    engine: Literal["auto", "hf", "vllm", "endpoint", "replay"] = option("auto", panel="Engine", identity=False)
    """Sampling engine; `auto` uses vllm if it is installed and finds its device, else hf."""
    replay: Path | None = option(None, panel="Engine", identity=False)
    """Engine replay: JSONL file of `{"candidate_id": ..., "completions": [...]}`."""
    endpoint_api: Literal["chat", "completions"] = option("chat", panel="Engine", identity=False)
    """`chat`: the server renders prompts and parses tool calls; `completions`: pivotrl does both and sends token
    ids."""
    endpoint_key_variable: str = option("OPENAI_API_KEY", panel="Engine", metavar="VARIABLE", identity=False)
    """Environment variable that holds the server's API key."""
    endpoint_retries: int = option(5, panel="Engine", identity=False, ge=0)
    """Retries per request on transient errors (429, 5xx, connection lost, timeout)."""
    tokenizer: Path | None = option(None, panel="Engine", metavar="FOLDER", identity=False)
    """With `--endpoint-api completions`: folder of the model's tokenizer, if `--model` is not that folder."""
    tensor_parallel: int = option(1, panel="Engine", ge=1)
    """Engine vllm: tensor-parallel size, the GPUs that share one copy of the model."""
