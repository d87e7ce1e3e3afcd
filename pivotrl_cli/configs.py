"""One config per command: the field's docstring is the flag's help and the schema's description.

Only pydantic here, so that parsing a command line never touches torch. A field with `identity=False` does not
change what is computed (where it reads, where it writes, how it looks), so it stays out of the provenance.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


def argument(default: Any = ..., **limits: Any) -> Any:
    """A positional argument: an input path, which is recorded by its content instead of its name."""
    return Field(default, json_schema_extra={"cli": "argument", "identity": False}, **limits)


def option(default: Any, *flags: str, identity: bool | Literal["name", "key=name"] = True, **limits: Any) -> Any:
    """An option with extra flags, or one that does not change the result.

    `identity="name"` is for what may be given as a path and is recorded by its content: only its last part is kept;
    `"key=name"` keeps the key before it too.
    """
    return Field(default, json_schema_extra={"flags": list(flags), "identity": identity}, **limits)


class Config(BaseModel):
    """Base of all configs: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def identity(self) -> dict[str, Any]:
        """The part of the config that decides the result, as JSON values, for the provenance."""
        kinds = {
            name: field.json_schema_extra.get("identity", True) if isinstance(field.json_schema_extra, dict) else True
            for name, field in type(self).model_fields.items()
        }
        dumped = json.loads(self.model_dump_json(include={name for name, kind in kinds.items() if kind}))
        return {name: _recorded(value, kinds[name]) for name, value in dumped.items()}


def _recorded(value: Any, kind: Any) -> Any:
    """What the provenance keeps of a value; a list of names is kept name by name."""
    if isinstance(value, list):
        return [_recorded(item, kind) for item in value]
    if kind is True or not value:
        return value
    key, equals, name = value.partition("=") if kind == "key=name" else ("", "", value)
    return f"{key}{equals}{Path(name).name or name}"


class StageConfig(Config):
    """What every command that writes a table has."""

    output: str = option("-", "-o", identity=False)
    """Output file; `-` writes Parquet to standard output."""
    force: bool = option(False, identity=False)
    """Run again even if the output is up to date, and overwrite whatever stands there."""
    json_summary: bool = option(False, "--json", identity=False)
    """Print the summary as one JSON object on standard output."""


class JudgeConfig(Config):
    """The language model that the verifiers `judge` and `NAME+judge` ask."""

    judge_url: str | None = option(None, identity=False)
    """OpenAI-compatible server of the judge, such as http://127.0.0.1:8000/v1."""
    judge_model: str | None = None
    """Model that judges, by the server's name for it."""
    judge_key_variable: str = option("OPENAI_API_KEY", identity=False)
    """Environment variable that holds the server's key."""
    max_judge_calls: int | None = option(None, identity=False, ge=0)
    """Most requests to the judge in this run; cached answers are free, what remains unasked is an error."""
    judge_cache: Path | None = option(None, identity=False)
    """SQLite file with the judge's answers; `pivotrl/judge.sqlite` in the user's cache folder by default."""


class EngineConfig(Config):
    """The policy that acts, and the engine that samples from it."""

    model: str = option("desk", identity="name")
    """Model folder, hub name, or `desk` for the policy that ships with the package."""
    engine: Literal["auto", "hf", "vllm", "endpoint", "replay"] = option("auto", identity=False)
    """Engine that samples; `auto` takes vllm where it is installed and finds its device, else hf."""
    replay: Path | None = option(None, identity=False)
    """With `--engine replay`: JSONL of `{"candidate_id": ..., "completions": [...]}`."""
    endpoint: str | None = option(None, identity=False)
    """With `--engine endpoint`: OpenAI-compatible server, such as http://127.0.0.1:8000/v1; `--model` is then the
    server's name for the model."""
    endpoint_api: Literal["chat", "completions"] = option("chat", identity=False)
    """`chat`: the server renders the prompts and parses the tool calls; `completions`: both happen here, and the
    server gets token ids."""
    endpoint_key_variable: str = option("OPENAI_API_KEY", identity=False)
    """Environment variable that holds the server's key."""
    tokenizer: Path | None = option(None, identity=False)
    """With `--endpoint-api completions`: folder of the model's tokenizer, where `--model` is not that folder."""
    endpoint_concurrency: int = option(16, identity=False, ge=1)
    """Requests to the server under way at once."""
    endpoint_timeout: float = option(600.0, identity=False, gt=0.0)
    """Seconds until the server's answer must have come."""
    endpoint_retries: int = option(5, identity=False, ge=0)
    """Further tries of a request after a failure that may pass: 429, 5xx, a lost connection, no answer in time."""
    token_budget: int = Field(131072, ge=1)
    """Engine hf: most tokens that one batch may keep in its cache: prompts times (longest prompt + n times the new
    tokens)."""
    device: str = "auto"
    """Torch device; `auto` takes the GPU if there is one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format; `auto` is bfloat16 on GPU and float32 on CPU."""
    tensor_parallel: int = Field(1, ge=1)
    """Engine vllm: GPUs that share one copy of the model."""
    engine_args: list[str] = option([], identity="key=name")
    """Engine vllm: `KEY=VALUE`, any further argument of its engine, such as `max_model_len=16384`. Repeatable."""


class ExtractConfig(StageConfig):
    """Turn trajectories into candidates: one row per assistant turn."""

    sources: list[str] = argument()
    """Trajectory files, folders or globs; `hf:NAME` opens anything that datasets.load_dataset does."""
    format: str = "auto"
    """Format of the trajectories; `auto` recognises it by content."""
    verifier: str = option("tool_call", identity="name")
    """Verifier that will score actions: a built-in name or `module:function`."""
    verifier_for: list[str] = option([], identity="key=name")
    """`KEY=NAME`: another verifier for a tool, or for a domain; the tool that a turn calls wins. Repeatable."""
    tools: Path | None = option(None, identity=False)
    """JSON file with the tool schemas, for formats that keep them outside the record."""
    system: Path | None = option(None, identity=False)
    """Text file with the system prompt, for formats that keep it outside the record."""
    only_successful: bool = False
    """Leave out trajectories whose recorded outcome is below `--success-threshold` or unknown."""
    success_threshold: float = 1.0
    """Outcome from which on a trajectory counts as successful."""
    min_outcome: float | None = None
    """Leave out trajectories whose recorded outcome is below this or unknown."""
    dedup: bool = False
    """Reject candidates whose state and action an earlier one has, whatever task or run they are from."""
    check_against: Path | None = option(None, identity=False)
    """File of a benchmark or validation set; report the trajectories whose prompt overlaps with one of its prompts."""
    drop_contaminated: bool = False
    """Reject the turns of the trajectories that `--check-against` reports."""
    holdout: float = Field(0.0, ge=0.0, lt=1.0)
    """Share of tasks (trajectories where the task is unknown) put in the holdout split."""
    seed: int = Field(0, ge=0)
    """Seed of the holdout split."""
    limit: int | None = Field(None, ge=1)
    """Stop after this many trajectories."""
    rejects: Path | None = option(None, identity=False)
    """Where the rejects go; beside the output as `<stem>.rejects.parquet` by default."""
    profile: Path | None = option(None, identity=False)
    """Also write a profile of the rewards that the rows record (pivot sets with pass rates), for `filter`."""


class ProfileConfig(EngineConfig, JudgeConfig, StageConfig):
    """Sample K one-turn rollouts at every candidate from a frozen policy and score them."""

    candidates: str = argument()
    """Candidates table; `-` reads standard input."""
    n: int = option(16, "-n", ge=1)
    """Rollouts per candidate (the paper's K); the most of them with `--adaptive`."""
    adaptive: bool = False
    """Sample in rounds and stop at a candidate where the verdict of the pivot rule is clear, see docs/adaptive.md."""
    adaptive_max_mean: float = Field(0.6, gt=0.0, le=1.0)
    """With `--adaptive`: the `--max-mean` that filter will be given."""
    adaptive_level: float = Field(0.88, gt=0.5, le=1.0)
    """With `--adaptive`: probability of the verdict from which on it counts as clear."""
    temperature: float = Field(1.0, ge=0.0)
    """Sampling temperature; 0 is greedy."""
    max_new_tokens: int = Field(256, ge=1)
    """Longest completion in tokens."""
    verifier: str | None = option(None, identity="name")
    """Score with this verifier instead of the one that the candidates name."""
    truncated: Literal["exclude", "zero"] = "exclude"
    """Completions cut by the token limit: leave them out of the pass rate, or reward 0."""
    split: Literal["train", "holdout", "all"] = "all"
    """Which split to profile."""
    limit: int | None = Field(None, ge=1)
    """Profile only this many candidates, spread evenly over the file."""
    seed: int = Field(0, ge=0)
    """Seed; each rollout's own seed derives from it, the candidate and the sample index."""
    window: int = Field(512, ge=1)
    """Candidates that are sampled as one pool and make one row group, in whole trajectories; shards are made of whole
    windows."""
    shard: str | None = option(None, identity=False)
    """`I/N`: profile only part I of N (from 0), for `pivotrl merge`; each part is a run of whole trajectories."""
    max_retries: int = option(2, identity=False, ge=0)
    """How often a rollout whose sampling failed is sampled again before it is recorded as an error; a run that goes on
    where another ended tries the recorded ones as often again."""
    max_error_rate: float = option(0.1, identity=False, ge=0.0, le=1.0)
    """Stop with exit 1, keeping what is done, once more than this share of the rollouts so far stay failed after their
    retries, or none of the first attempts works; not looked at below 100 rollouts."""

    executor: Literal["local", "ray"] = option("local", identity=False)
    """Where windows are sampled: in this process, or by Ray Data on workers that each hold the engine, see
    docs/scaling.md."""
    workers: int | None = option(None, identity=False, ge=1)
    """With `--executor ray`: how many; by default as many as its GPUs are enough for, or one without GPUs."""
    ray_address: str | None = option(None, identity=False)
    """With `--executor ray`: a cluster, such as `auto` or `ray://HOST:10001`; this machine by default."""


class MergeConfig(StageConfig):
    """Put the shards of a profile together: the table that one run over all candidates would have written."""

    shards: list[str] = argument()
    """The tables that `pivotrl profile --shard 0/N` to `--shard N-1/N` wrote, in any order."""


class FilterConfig(StageConfig):
    """Keep the pivots: reward variance above zero and mean below the limit (paper, Eq. 5)."""

    profile: str = argument()
    """Profile table; `-` reads standard input."""
    rule: Literal["paper", "posterior", "signal"] = "paper"
    """What makes a pivot. `paper`: the rewards vary and their mean is in the window; `posterior`: the true pass rate is
    probably in the window; `signal`: the expected GRPO signal is large and the expected rate in the window."""
    max_mean: float = Field(0.6, gt=0.0, le=1.0)
    """Upper end of the window: the pass rate is below this (the paper's lambda); 1 keeps every mixed one."""
    min_pass_rate: float | None = Field(None, ge=0.0, lt=1.0)
    """Lower end of the window: the pass rate is at least this; none by default, 0.05 with `--rule posterior`."""
    level: float | None = Field(None, gt=0.0, lt=1.0)
    """With `--rule posterior`: least probability that the true rate is in the window; 0.5 by default."""
    min_signal: float | None = Field(None, ge=0.0, le=0.5)
    """With `--rule signal`: least posterior mean of sqrt(p (1 - p)); 0.2 by default, the signal at a rate of 0.04."""
    keep_all_zero: float = Field(0.0, ge=0.0, le=1.0)
    """Share of the candidates whose every reward is 0 that is kept against the rule, drawn at random."""
    where: str | None = None
    """Keep only rows for which this SQL condition on the table's columns is true, such as `turn > 3`."""
    max_per_trajectory: int | None = Field(None, ge=1)
    """Most pivots from one trajectory."""
    max_per_task: int | None = Field(None, ge=1)
    """Most pivots from one task; a trajectory whose task is unknown is its own."""
    max_message_ratio: float | None = Field(None, ge=0.0, lt=1.0)
    """Most messages (actions without a tool call) among the pivots, as a share."""
    balance: Literal["tool", "domain"] | None = None
    """Share `--limit` equally among tools or domains, as far as they reach."""
    limit: int | None = Field(None, ge=1)
    """Most pivots in all."""
    select: Literal["top", "random", "stratified"] = "top"
    """Which ones the limits keep: the highest by the rule, any at random, or equally many from each tenth of the pass
    rate as far as they reach."""
    control: Literal["random", "random-tools"] | None = None
    """Write a random control instead: as many scored candidates as would be kept, or as many of each tool."""
    split: Literal["train", "holdout", "all"] = "train"
    """Which split to select from."""
    model: str | None = option(None, identity=False)
    """Refuse a profile of another model than this folder, hub name or `desk`."""
    dropped: Path | None = option(None, identity=False)
    """Also write the dropped candidates with their reasons to this file."""
    seed: int = Field(0, ge=0)
    """Seed of everything drawn at random."""
    dry_run: bool = option(False, identity=False)
    """Print the funnel and write nothing, whatever `-o` and `--dropped` say."""
    output: str | None = option("-", "-o", identity=False)  # type: ignore[assignment]
    """Output file; `-` writes Parquet to standard output."""

    @model_validator(mode="before")
    @classmethod
    def _write_nothing(cls, given: dict[str, Any]) -> dict[str, Any]:
        return given | {"output": None, "dropped": None} if given.get("dry_run") else given


class TrainConfig(JudgeConfig, StageConfig):
    """Train a policy on the pivots."""

    pivots: str = argument()
    """Pivots table; candidates or a profile will do for SFT."""
    output: str = option(..., "-o", identity=False)
    """Folder for the model, `metrics.parquet` and `rollouts.parquet`."""
    model: str = option("desk", identity="name")
    """Model folder, hub name, or `desk` for the policy that ships with the package."""
    method: Literal["grpo", "sft"] = "grpo"
    """`grpo` samples and scores; `sft` imitates the demonstrated actions of the same rows."""
    steps: int = Field(60, ge=1)
    """Optimiser steps."""
    prompts_per_step: int = Field(16, ge=1)
    """Pivots per step."""
    group_size: int = Field(8, ge=2)
    """Rollouts per pivot (the paper's G); SFT ignores it."""
    learning_rate: float = Field(1e-6, gt=0.0)
    """Peak learning rate of AdamW."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate after the warm-up."""
    warmup_steps: int = Field(0, ge=0)
    """Steps of linear warm-up."""
    weight_decay: float = Field(0.0, ge=0.0)
    """Decoupled weight decay."""
    max_grad_norm: float = Field(1.0, gt=0.0)
    """Gradient norm above which the gradient is scaled down."""
    skip_grad_norm: float | None = Field(None, gt=0.0)
    """Gradient norm above which the step is skipped and counted; one that is not finite always is."""
    loss: Literal["grpo", "dapo", "dr_grpo", "gspo", "cispo"] = "dapo"
    """Token ratios clipped, with all tokens alike (dapo), all rollouts alike (grpo), or each token as if its rollout
    had the longest length (dr_grpo); one ratio per rollout (gspo); a clipped weight that cuts no gradient (cispo)."""
    advantage: Literal["group", "leave_one_out", "no_std"] = "group"
    """Reward minus the group's mean over its deviation; the same against the other rollouts; without the deviation."""
    importance_cap: float | None = Field(None, ge=1.0)
    """Weigh each token by the trainer's over the sampler's probability, at most this; the clip then compares with the
    trainer's own. By default the sampler's probabilities are the old ones."""
    clip_low: float = Field(0.2, gt=0.0, le=1.0)
    """Lower clip of the probability ratio, as 1 - clip_low."""
    clip_high: float = Field(0.2, gt=0.0)
    """Upper clip of the probability ratio, as 1 + clip_high."""
    kl_coef: float = Field(0.0, ge=0.0)
    """Weight of KL(policy || frozen policy); 0 makes no reference pass."""
    updates_per_batch: int = Field(1, ge=1)
    """Optimiser updates on each sampled batch; above 1 the ratio clip comes to bear."""
    temperature: float = Field(1.0, gt=0.0)
    """Sampling temperature, applied in the loss too."""
    max_new_tokens: int = Field(256, ge=1)
    """Longest completion in tokens."""
    truncated: Literal["exclude", "zero"] = "exclude"
    """Completions cut by the token limit: leave them out of the update, or reward 0 if no right action is so long."""
    max_refills: int = Field(4, ge=0)
    """Rounds of fresh pivots that replace groups without variance before a step goes on with fewer."""
    verifier: str | None = option(None, identity="name")
    """Score with this verifier instead of the one that the pivots name."""
    allow_foreign_profile: bool = option(False, identity=False)
    """Train with GRPO on pivots that another model's profile found."""
    seed: int = Field(0, ge=0)
    """Seed of the order and of all samples."""
    token_budget: int = Field(16384, ge=1)
    """Most tokens in one forward pass with gradients, padding included."""
    checkpoint_every: int = option(20, identity=False, ge=0)
    """Steps between checkpoints, from which the same command goes on after the run was ended; 0 makes none."""
    sampler: Literal["hf", "vllm"] = "hf"
    """What samples the rollouts: the trained model itself, or vLLM in the same process, which gets the weights anew
    after each step."""
    engine_args: list[str] = option([], identity="key=name")
    """Sampler vllm: `KEY=VALUE`, any further argument of its engine, such as `gpu_memory_utilization=0.4`.
    Repeatable."""
    log_to: list[str] = option([], identity=False)
    """Send the metrics of each step to tensorboard, trackio or wandb too; `metrics.parquet` has them always.
    Repeatable."""
    lora_rank: int | None = Field(None, ge=1)
    """Train low-rank adapters of this rank and leave the model's own weights as they are."""
    lora_alpha: float | None = Field(None, gt=0.0)
    """Adapters count alpha / rank times; twice the rank by default."""
    lora_targets: list[str] = Field(["all-linear"])
    """Layers that get adapters, by the last part of their names; `all-linear` for all but the output. Repeatable."""
    lora_output: Literal["merged", "adapter"] = "merged"
    """`merged` writes a model like any other; `adapter` writes the adapters alone, for peft and vLLM."""
    keep: int = option(2, identity=False, ge=1)
    """Checkpoints to keep while the run goes on; a finished run has its model alone."""
    layout: Literal["tree", "plain"] = "tree"
    """`tree` computes what prompts and rollouts share once; `plain` is one padded batch of full sequences."""
    sample_token_budget: int = Field(131072, ge=1)
    """Most tokens that one sampling batch may keep in its cache, as `--token-budget` of profile."""
    device: str = "auto"
    """Torch device; `auto` takes the GPU if there is one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format; `auto` is bfloat16 on GPU and float32 on CPU."""
    nproc: int = option(1, identity=False, ge=1)
    """Processes on this machine that train together, one per GPU; under torchrun, which starts them, leave it."""
    replicas: int = option(1, identity=False, ge=1)
    """Copies of the weights, each sharded over its part of the processes; 1 shards them over all."""


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


class InspectConfig(Config):
    """Look at any table, even while a stage writes it: what it is, where it came from, its numbers and its rows."""

    file: str = argument()
    """Any table that pivotrl wrote or is writing, or the folder of a training run; `-` reads standard input."""
    where: str | None = None
    """Look only at rows for which this SQL condition on the table's columns is true, such as `reward_mean < 0.5`."""
    row: str | None = None
    """Show the row with this candidate id, task id or step; the beginning of an id will do."""
    sample: int | None = Field(None, ge=1)
    """Show this many rows, drawn at random."""
    trajectory: str | None = None
    """Show this trajectory in the pager, with its pass rates turn by turn; the beginning of its id will do."""
    disagreements: int | None = Field(None, ge=1)
    """Show this many completions that the verifier refused though they are like the demonstration, and as many that it
    accepted though they are not."""
    messages: int = Field(6, ge=1)
    """How many of a state's last messages to show."""
    seed: int = Field(0, ge=0)
    """Seed of `--sample`."""
    candidates: Path | None = option(None, identity=False)
    """Of a profile that is still being made: its candidates table, where that is not beside it."""
    json_summary: bool = option(False, "--json", identity=False)
    """Print what is shown as one JSON object on standard output."""


class ReportConfig(StageConfig):
    """Show a run on one page that needs no network: funnel, pass rates, trajectories, training, evaluations."""

    folder: str = argument()
    """Folder with the tables of a run, at any depth, finished or not."""
    output: str = option("report.html", "-o", identity=False)
    """The page; `-` writes it to standard output."""
    trajectories: int = Field(2000, ge=1)
    """Most trajectories of a profile to show turn by turn, spread evenly over it."""
    baseline: str | None = None
    """Evaluation that the others are compared with; by default the first with `base` in its name, else the first."""


class DeskConfig(Config):
    """Write expert trajectories of the embedded service desk, as OpenAI chat JSONL."""

    n: int = option(128, "-n", ge=1)
    """Number of trajectories."""
    seed: int = Field(0, ge=0)
    """Seed of the tasks and of the expert's style."""
    output: str = option("-", "-o", identity=False)
    """Output file; `-` writes to standard output."""


class ExportConfig(StageConfig):
    """Hand pivots to another trainer: a folder in its form, with the reward file or the config that goes with it."""

    pivots: str = argument()
    """Pivots table; candidates or a profile will do. `-` reads standard input."""
    to: str = option(..., identity="name")
    """Target: `nemo-gym`, `trl`, `verl`, `openai` (fine-tuning on the demonstrations), or `module:Class`."""
    output: str = option(..., "-o", identity=False)
    """Folder to write."""
    model: str | None = option(None, identity="name")
    """Targets trl and verl: render the prompts, tools included, with the chat template of this model folder, hub name
    or `desk`; by default they stay messages."""
    verifier: str | None = option(None, identity="name")
    """Have this verifier score instead of the one that the pivots name."""


class DoctorConfig(Config):
    """Say what works here and what to install for the rest."""

    json_summary: bool = option(False, "--json", identity=False)
    """Print what was found as one JSON object on standard output."""


class ScoreConfig(JudgeConfig, StageConfig):
    """Score recorded rollouts again, with other verifiers and no sampling; or audit what verifiers let through."""

    rollouts: str = argument()
    """Profile, training rollouts (with `--candidates`), or NeMo Gym rollouts (JSONL); candidates for an audit."""
    verifier: list[str] = option([], identity="name")
    """Verifier to score with; repeat it to compare several. By default the one that each candidate names."""
    candidates: Path | None = option(None, identity=False)
    """Pivots that training rollouts come from, or candidates of NeMo Gym rollouts that lack the demonstration."""
    audit: bool = False
    """Score wrong actions made on purpose at every candidate instead, and report what is accepted."""
    output: str | None = option(None, "-o", identity=False)  # type: ignore[assignment]
    """Write the profile with the first verifier's rewards here; nothing is written by default."""


COMMANDS: dict[str, type[Config]] = {
    "extract": ExtractConfig,
    "profile": ProfileConfig,
    "merge": MergeConfig,
    "filter": FilterConfig,
    "train": TrainConfig,
    "eval": EvalConfig,
    "import-eval": ImportConfig,
    "compare": CompareConfig,
    "score": ScoreConfig,
    "inspect": InspectConfig,
    "report": ReportConfig,
    "desk": DeskConfig,
    "export": ExportConfig,
    "doctor": DoctorConfig,
}
