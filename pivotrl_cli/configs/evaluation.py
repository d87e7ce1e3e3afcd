"""Policies on benchmarks: eval, harness, import-eval, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pivotrl_cli.configs.base import Config, StageConfig, argument, option
from pivotrl_cli.configs.shared import EngineConfig, JudgeConfig


class UserConfig(Config):
    """The language model that plays the user in benchmarks that need one."""

    user_url: str | None = option(None, panel="Simulated user", metavar="URL", identity=False)
    """Benchmarks tau2_*: OpenAI-compatible server of the simulated user, such as http://127.0.0.1:8000/v1."""
    user_model: str | None = option(None, panel="Simulated user", metavar="MODEL")
    """Model that plays the user, by the server's name for it."""
    user_temperature: float = option(0.0, panel="Simulated user", ge=0.0)
    """Sampling temperature of the simulated user."""
    user_max_new_tokens: int = option(1024, panel="Simulated user", ge=1)
    """Longest message of the simulated user in tokens."""
    user_key_variable: str = option("OPENAI_API_KEY", panel="Simulated user", metavar="VARIABLE", identity=False)
    """Environment variable that holds the key of the user's server."""


class EvalConfig(EngineConfig, JudgeConfig, UserConfig, StageConfig):
    """Score a policy on benchmarks: one row per task and trial."""

    benchmarks: list[str] = argument([], metavar="BENCHMARK")
    """Benchmarks: `desk` (`desk:12` its tasks of 12 turns and more), `skills`, `reasoning-gym`, `tau2_airline`,
    `tau2_retail`, `tau2_telecom`, `pivots:FILE` for
    held-out candidates, `next-action:FILE` for whole held-out trajectories, or `module:function`."""
    limit: int | None = option(None, panel="Episodes", ge=1)
    """Tasks per benchmark (trajectories of `next-action`); all by default."""
    trials: int = option(1, panel="Episodes", ge=1)
    """Repetitions of each task, each with its own seed; from 2 on, pass@k and pass^k are shown."""
    split: Literal["test", "val", "all"] = option("test", panel="Episodes")
    """Tasks to take, where a benchmark has several splits. `all` also takes the rows of `pivots` and `next-action` that
    are not held out."""
    temperature: float = option(1.0, panel="Episodes", ge=0.0)
    """Sampling temperature; 0 is greedy."""
    top_p: float = option(1.0, gt=0.0, le=1.0)
    """Sample from the most likely tokens that together have this probability."""
    top_k: int | None = option(None, ge=1)
    """Sample from this many of the most likely tokens; all by default."""
    max_new_tokens: int = option(256, panel="Episodes", ge=1)
    """Longest completion in tokens."""
    max_turns: int = option(40, panel="Episodes", ge=1)
    """Most assistant turns in one episode."""
    concurrency: int = option(512, panel="Episodes", ge=1)
    """Episodes under way at once; requests to a server are limited by `--endpoint-concurrency`."""
    exact_resume: bool = False
    """Compute every state from its beginning, slower by as much as episodes are long: a run that was ended and went on
    then has the bytes of one that was not. By default they are the same up to the engine's rounding."""
    timings: bool = option(False, panel="Output")
    """Fill the column `seconds`; the same run then gives other bytes each time."""
    max_error_rate: float = option(0.05, panel="Failures", identity=False, ge=0.0, le=1.0)
    """Exit with 1 if more than this share of the rows could not be measured."""
    seed: int = option(0, panel="Episodes", ge=0)
    """Seed of all samples."""


class HarnessConfig(UserConfig, Config):
    """Plan and run other evaluation harnesses, each in an environment of its own, and import their results."""

    tasks: list[str] = argument([], required=False, metavar="TASK")
    """What to run, as `HARNESS:TASK` by the harness's names: `lm-eval:gsm8k`, `inspect:tau2_airline`."""
    suite: Literal["ood", "agentic"] | None = option(None, panel="Run")
    """Also run the paper's benchmarks: the eight out of domain, or the agentic ones."""
    run: bool = option(False, panel="Run", identity=False)
    """Run the plan and import the results; by default it is only printed, with what is missing."""
    output: Path = option(Path("harness"), "-o", panel="Output", metavar="FOLDER", identity=False)
    """Folder for the results: one folder and one eval table per harness."""
    model: str = option("desk", panel="Model", metavar="MODEL", identity="name")
    """The server's name for the model; without a server its folder, hub name or `desk`, which is for lm-eval alone."""
    endpoint: str | None = option(None, panel="Model", metavar="URL", identity=False)
    """OpenAI-compatible server of the model, such as http://127.0.0.1:8000/v1."""
    endpoint_key_variable: str = option("OPENAI_API_KEY", panel="Model", metavar="VARIABLE", identity=False)
    """Environment variable that holds the server's key."""
    serve: bool = option(False, panel="Model", identity=False)
    """Start `vllm serve` with the model for the time of the run."""
    serve_args: str = option("", panel="Model", metavar="WORDS", identity=False)
    """With `--serve`: further words for it, such as `--tool-call-parser hermes --enable-auto-tool-choice`."""
    serve_port: int = option(8000, panel="Model", identity=False, ge=1, le=65535)
    """With `--serve`: its port."""
    judge_url: str | None = option(None, panel="Judge", metavar="URL", identity=False)
    """Server of the judge, for tasks that a model grades."""
    judge_model: str | None = option(None, panel="Judge", metavar="MODEL")
    """Model that judges, by the server's name for it."""
    env: list[str] = option([], panel="Harnesses", metavar="HARNESS=FOLDER", identity=False)
    """`HARNESS=FOLDER`: the harness's virtual environment; by default its programs are found on PATH. Repeatable."""
    args: list[str] = option([], panel="Harnesses", metavar="HARNESS=WORDS")
    """`HARNESS=WORDS`: further words for its command line, `--args 'lm-eval=--include_path tasks'`. Repeatable."""
    registry_model: str | None = option(None, panel="Model", metavar="NAME")
    """bfcl: the model's name in its registry."""
    tokenizer: Path | None = option(None, panel="Model", metavar="FOLDER", identity=False)
    """bfcl: folder of the model's tokenizer."""
    limit: int | None = option(None, panel="Run", ge=1)
    """Tasks per benchmark; all by default."""
    trials: int = option(1, panel="Run", ge=1)
    """Repetitions of each task, where the harness has them."""
    seed: int = option(0, panel="Run", ge=0)
    """Seed of all samples, where the harness takes one."""
    temperature: float = option(0.0, panel="Run", ge=0.0)
    """Sampling temperature; 0 is greedy."""
    max_new_tokens: int | None = option(None, panel="Run", ge=1)
    """Longest completion in tokens; the harness's own by default."""
    concurrency: int = option(8, panel="Run", identity=False, ge=1)
    """Requests or episodes under way at once."""
    max_error_rate: float = option(0.05, panel="Harnesses", identity=False, ge=0.0, le=1.0)
    """Exit with 1 if more than this share of the rows could not be measured."""
    json_summary: bool = option(False, "--json", panel="Output", shell=True, identity=False)
    """Print the plan, or the means, as one JSON object on standard output."""


class ImportConfig(StageConfig):
    """Read the results of another harness into an eval table, and compare the means with the harness's own."""

    sources: list[str] = argument([], metavar="SOURCE")
    """Result files, folders or globs of one model."""
    format: str = option("auto", metavar="NAME")
    """Harness that wrote them; `auto` recognises it by content."""
    metric: str | None = option(None, metavar="NAME")
    """Metric or scorer to take, by the harness's name for it; its first by default."""
    model: str | None = option(None, metavar="MODEL")
    """Where there are several models: the one to take."""
    benchmark: str | None = option(None, metavar="NAME")
    """Call the benchmark this, where there is only one."""
    max_error_rate: float = option(0.05, identity=False, ge=0.0, le=1.0)
    """Exit with 1 if more than this share of the rows was not measured or could not be read."""


class CompareConfig(Config):
    """Put evaluations of the same tasks side by side, with paired differences to the first."""

    results: list[str] = argument([], metavar="EVAL")
    """Eval tables; the first is the baseline."""
    names: str | None = option(None, panel="Output", shell=True, metavar="NAMES")
    """Comma-separated names for the columns; the file names by default."""
    in_domain: str | None = option(None, panel="Domains", metavar="NAMES")
    """Comma-separated benchmarks (`*` matches) that are in the domain trained on; the others are out of it."""
    ood: str | None = option(None, panel="Domains", metavar="NAMES")
    """Comma-separated benchmarks that are out of domain; with `--in-domain` too, the rest belongs to neither mean."""
    flips: int = option(0, panel="Output", shell=True, ge=0)
    """Name this many items that each model lost, and as many that it won, per benchmark."""
    max_regression: float | None = option(None, panel="Output", shell=True, ge=0.0, le=1.0)
    """Exit with 1 if on any benchmark a model's mean paired difference to the first is below minus this share (0.02 is
    two points) with p < 0.05, whether errors are left out or count as 0; or if it lacks items."""
    draws: int = option(10000, panel="Test", ge=100)
    """Random sign changes of the paired test, where there are too many clusters to try them all."""
    seed: int = option(0, panel="Test", ge=0)
    """Seed of the paired test."""
    format: Literal["table", "markdown", "json"] = option("table", panel="Output", shell=True)
    """How to print."""
