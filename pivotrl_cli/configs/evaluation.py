"""Configs of eval, harness, import-eval and compare."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pivotrl_cli.configs.base import Config, StageConfig, argument, option
from pivotrl_cli.configs.shared import EngineConfig, JudgeConfig


class UserConfig(Config):
    """The language model that simulates the user in benchmarks that need one."""

    user_url: str | None = option(None, panel="Simulated user", metavar="URL", identity=False)
    """Benchmarks tau2_*: base URL of the simulated user's OpenAI-compatible server, such as
    http://127.0.0.1:8000/v1."""
    user_model: str | None = option(None, panel="Simulated user", metavar="MODEL")
    """Name of the simulated user's model on its server."""
    user_temperature: float = option(0.0, panel="Simulated user", ge=0.0)
    """Sampling temperature of the simulated user."""
    user_max_new_tokens: int = option(1024, panel="Simulated user", ge=1)
    """Maximum new tokens per message of the simulated user."""
    user_key_variable: str = option("OPENAI_API_KEY", panel="Simulated user", metavar="VARIABLE", identity=False)
    """Environment variable that holds the API key of the simulated user."""


class EvalConfig(EngineConfig, JudgeConfig, UserConfig, StageConfig):
    """Evaluate a policy on benchmarks: one row per task and trial."""

    benchmarks: list[str] = argument([], metavar="BENCHMARK")
    """Benchmarks: `desk` (`desk:12`: only tasks of at least 12 turns), `skills`, `reasoning-gym`, `tau2_airline`,
    `tau2_retail`, `tau2_telecom`, `pivots:FILE` for held-out candidates, `next-action:FILE` for whole held-out
    trajectories, or `module:function`."""
    limit: int | None = option(None, panel="Episodes", ge=1)
    """Maximum tasks per benchmark (trajectories of `next-action`); default: all."""
    trials: int = option(1, panel="Episodes", ge=1)
    """Trials per task, each with its own seed; with 2 or more, pass@k and pass^k are shown."""
    split: Literal["test", "val", "all"] = option("test", panel="Episodes")
    """Split of tasks, where a benchmark has several; with `all`, `pivots` and `next-action` also use rows that are not
    held out."""
    temperature: float = option(1.0, panel="Episodes", ge=0.0)
    """Sampling temperature; 0 is greedy."""
    top_p: float = option(1.0, gt=0.0, le=1.0)
    """Nucleus sampling: sample from the most likely tokens with this total probability."""
    top_k: int | None = option(None, ge=1)
    """Sample from this many of the most likely tokens; default: all."""
    max_new_tokens: int = option(256, panel="Episodes", ge=1)
    """Maximum new tokens per completion."""
    max_turns: int = option(40, panel="Episodes", ge=1)
    """Maximum assistant turns per episode."""
    concurrency: int = option(512, panel="Episodes", ge=1)
    """Maximum concurrent episodes; requests to a server are limited by `--endpoint-concurrency`."""
    exact_resume: bool = False
    """Make a resumed run byte-identical to an uninterrupted one, by computing every state from its first token (slower
    for long episodes). By default the results agree up to rounding in the engine."""
    timings: bool = option(False, panel="Output")
    """Fill the column `seconds`; repeated runs then differ in their bytes."""
    max_error_rate: float = option(0.05, panel="Failures", identity=False, ge=0.0, le=1.0)
    """Exit with 1 if more than this share of the rows could not be measured."""
    seed: int = option(0, panel="Episodes", ge=0)
    """Seed of all samples."""


class HarnessConfig(UserConfig, Config):
    """Plan and run other evaluation harnesses, each in its own environment, and import their results."""

    tasks: list[str] = argument([], required=False, metavar="TASK")
    """Tasks to run, as `HARNESS:TASK` with the harness's names: `lm-eval:gsm8k`, `inspect:tau2_airline`."""
    suite: Literal["ood", "agentic", "gym"] | None = option(None, panel="Run")
    """Also run the paper's benchmarks: the eight out-of-domain ones, the agentic ones, or all twelve in NeMo Gym."""
    run: bool = option(False, panel="Run", identity=False)
    """Run the plan and import the results; by default the plan is only printed, with what is missing."""
    output: Path = option(Path("harness"), "-o", panel="Output", metavar="FOLDER", identity=False)
    """Output folder: one folder and one eval table per harness."""
    model: str = option("desk", panel="Model", metavar="MODEL", identity="name")
    """Name of the model on its server; without a server its folder, hub name or `desk` (lm-eval only)."""
    endpoint: str | None = option(None, panel="Model", metavar="URL", identity=False)
    """Base URL of the model's OpenAI-compatible server, such as http://127.0.0.1:8000/v1."""
    endpoint_key_variable: str = option("OPENAI_API_KEY", panel="Model", metavar="VARIABLE", identity=False)
    """Environment variable that holds the server's API key."""
    serve: bool = option(False, panel="Model", identity=False)
    """Serve the model with `vllm serve` during the run."""
    serve_args: str = option("", panel="Model", metavar="WORDS", identity=False)
    """With `--serve`: further arguments, such as `--tool-call-parser hermes --enable-auto-tool-choice`."""
    serve_port: int = option(8000, panel="Model", identity=False, ge=1, le=65535)
    """With `--serve`: port of the server."""
    judge_url: str | None = option(None, panel="Judge", metavar="URL", identity=False)
    """Base URL of the judge's server, for tasks that a model grades."""
    judge_model: str | None = option(None, panel="Judge", metavar="MODEL")
    """Name of the judge model on its server."""
    env: list[str] = option([], panel="Harnesses", metavar="HARNESS=FOLDER", identity=False)
    """`HARNESS=FOLDER`: virtual environment of a harness; by default its programs are found on PATH. Repeatable."""
    args: list[str] = option([], panel="Harnesses", metavar="HARNESS=WORDS")
    """`HARNESS=WORDS`: further arguments for its command line, `--args 'lm-eval=--include_path tasks'`. Repeatable."""
    registry_model: str | None = option(None, panel="Model", metavar="NAME")
    """bfcl: name of the model in its registry."""
    tokenizer: Path | None = option(None, panel="Model", metavar="FOLDER", identity=False)
    """bfcl: folder of the model's tokenizer."""
    limit: int | None = option(None, panel="Run", ge=1)
    """Maximum tasks per benchmark; default: all."""
    trials: int = option(1, panel="Run", ge=1)
    """Trials per task, where the harness supports them."""
    seed: int = option(0, panel="Run", ge=0)
    """Seed of all samples, where the harness takes one."""
    temperature: float = option(0.0, panel="Run", ge=0.0)
    """Sampling temperature; 0 is greedy."""
    max_new_tokens: int | None = option(None, panel="Run", ge=1)
    """Maximum new tokens per completion; default: the harness's own."""
    concurrency: int = option(8, panel="Run", identity=False, ge=1)
    """Maximum concurrent requests or episodes."""
    max_error_rate: float = option(0.05, panel="Harnesses", identity=False, ge=0.0, le=1.0)
    """Exit with 1 if more than this share of the rows could not be measured."""
    json_summary: bool = option(False, "--json", panel="Output", cli_only=True, identity=False)
    """Print the plan, or the means, as one JSON object on standard output."""


class ImportConfig(StageConfig):
    """Import the results of another harness into an eval table, and compare its means with ours."""

    sources: list[str] = argument([], metavar="SOURCE")
    """Result files, folders or globs of one model."""
    format: str = option("auto", metavar="NAME")
    """Harness that wrote the files; `auto` detects it from the content."""
    metric: str | None = option(None, metavar="NAME")
    """Metric or scorer to import, by the harness's name for it; default: its first."""
    model: str | None = option(None, metavar="MODEL")
    """Model to import, if the files have several."""
    benchmark: str | None = option(None, metavar="NAME")
    """Name for the benchmark, if there is only one."""
    max_error_rate: float = option(0.05, identity=False, ge=0.0, le=1.0)
    """Exit with 1 if more than this share of the rows was not measured or could not be read."""


class CompareConfig(Config):
    """Compare evaluations of the same tasks, with paired differences to the first."""

    results: list[str] = argument([], metavar="EVAL")
    """Eval tables; the first is the baseline."""
    names: str | None = option(None, panel="Output", cli_only=True, metavar="NAMES")
    """Comma-separated names for the columns; default: the file names."""
    in_domain: str | None = option(None, panel="Domains", metavar="NAMES")
    """Comma-separated benchmarks (`*` matches) in the training domain; the others are out of domain."""
    ood: str | None = option(None, panel="Domains", metavar="NAMES")
    """Comma-separated benchmarks out of domain; with `--in-domain`, the rest counts in neither mean."""
    flips: int = option(0, panel="Output", cli_only=True, ge=0)
    """Number of items to list per benchmark that each model lost, and as many that it won."""
    max_regression: float | None = option(None, panel="Output", cli_only=True, ge=0.0, le=1.0)
    """Exit with 1 if, on any benchmark, a model's mean paired difference to the baseline is below minus this (0.02 is
    two points) with p < 0.05, with errors left out or counted as 0, or if items are missing."""
    draws: int = option(10000, panel="Test", ge=100)
    """Random sign flips of the paired test, where there are too many clusters to enumerate."""
    seed: int = option(0, panel="Test", ge=0)
    """Seed of the paired test."""
    format: Literal["table", "markdown", "json"] = option("table", panel="Output", cli_only=True)
    """Output format."""
