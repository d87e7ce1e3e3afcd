"""Train: GRPO on pivots; and as its baselines, imitation of the same rows and GRPO on whole episodes of their tasks.

    for each step: draw pivots, sample a group at each, score, update on the groups whose rewards vary

The run lives in `OUTPUT.partial` (its metrics and rollouts can be read there while it goes on) and becomes `OUTPUT`
once it is complete: a Hugging Face folder with `metrics.parquet` and `rollouts.parquet` beside the weights. Ended
before that, the same command goes on from the last checkpoint and ends in the same weights.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.environments import Environment, load_environment
from pivotrl_cli.errors import ConfigError, InputError, RunError
from pivotrl_cli.model.folder import fingerprint, load_tokenizer, resolve
from pivotrl_cli.progress import Progress, short
from pivotrl_cli.rows import Candidate, StepMetrics
from pivotrl_cli.stages.shared.judge import cost_row, judge_cost, open_judge
from pivotrl_cli.stages.shared.model_check import check_profile
from pivotrl_cli.stages.train.launch import crew, open_run
from pivotrl_cli.stages.train.loggers import opened_loggers
from pivotrl_cli.stages.train.model_card import model_card
from pivotrl_cli.stages.train.pivot_order import Deck
from pivotrl_cli.stages.train.run_folder import RunFolder
from pivotrl_cli.stages.train.stopwatch import Stopwatch
from pivotrl_cli.storage.provenance import Provenance, source_fingerprint
from pivotrl_cli.storage.table import Table
from pivotrl_cli.verifiers import Verifier, load_verifier

if TYPE_CHECKING:
    from rich.console import RenderableType
    from transformers import PreTrainedModel

    from pivotrl_cli.stages.train.groups import Source
    from pivotrl_cli.stages.train.method import Learner
    from pivotrl_cli.stages.train.state import Trained

PHASES = ("push", "reprofile", "sample", "score", "train", "save")
"""Of a step, in order."""
MAX_SKIPPED_STEPS = 3
"""Steps in a row without a usable gradient, after which the run fails."""


def run(config: TrainConfig) -> dict[str, Any]:
    """Train a model on a pivots table, with the other processes where there are any; returns the summary."""
    with crew(config):
        return _run(config)


def _check(config: TrainConfig) -> None:
    """Raise ConfigError for options that do not go together."""
    if config.output == "-" or not Path(config.output).name.strip("."):
        raise ConfigError(f"-o {config.output}: train writes a new folder", "name one with -o")
    if config.lora_rank is None and (config.lora_alpha is not None or config.lora_output == "adapter"):
        raise ConfigError("--lora-alpha and --lora-output are for adapters", "add --lora-rank, such as 16")
    if config.engine_args and config.sampler != "vllm":
        raise ConfigError("--engine-args is for the sampler vllm", "add --sampler vllm")
    if (config.sampler == "vllm-server") != (config.endpoint is not None):
        raise ConfigError("--sampler vllm-server and --endpoint belong together", "give both or neither")
    if config.environment is not None and config.method != "e2e":
        raise ConfigError("--environment is for whole episodes", "add --method e2e")
    if config.method == "sft" and (config.reprofile_every or config.reprofile_below):
        raise ConfigError("--method sft has no rollouts to re-profile with", "leave out --reprofile-every and -below")


def _run(config: TrainConfig) -> dict[str, Any]:
    _check(config)
    with ExitStack() as stack:
        table = stack.enter_context(Table.open(config.pivots, Candidate))
        rows = _rows(table, config)
        names = _verifier_names(table, config)
        judge = stack.enter_context(open_judge(names, config))
        verifiers = {name: load_verifier(name, judge) for name in names}
        environments = {name: load_environment(name) for name in _environment_names(table, config)}
        plug_ins: dict[str, Any] = {f"verifier {Path(name).name}": one for name, one in verifiers.items()}
        plug_ins |= {f"environment {Path(name).name}": one for name, one in environments.items()}
        fingerprints = {name: source_fingerprint(one) for name, one in sorted(plug_ins.items())}
        fingerprints["model"] = fingerprint(resolve(config.model))
        if config.method == "grpo" and not config.allow_foreign_profile:
            check_profile(table, config.model, fingerprints["model"], "add --allow-foreign-profile")
        provenance = Provenance.of("train", StepMetrics, config, [table.as_input()], fingerprints)
        output = open_run(Path(config.output), provenance, config, stack)
        if isinstance(output, dict):
            return output | {"cached": True}
        source = _source(config, verifiers, environments)
        return _train(config, table, rows, source, output) | judge_cost(judge)


def _source(config: TrainConfig, verifiers: dict[str, Verifier], environments: dict[str, Environment]) -> Source:
    """What is sampled and scored at a row."""
    from pivotrl_cli.stages.train.episode_rollouts import episode_source
    from pivotrl_cli.stages.train.pivot_rollouts import pivot_source

    return episode_source(environments, config) if config.method == "e2e" else pivot_source(verifiers, config)


def _train(
    config: TrainConfig,
    table: Table[Candidate],
    rows: _Rows,
    source: Source,
    output: RunFolder,
) -> dict[str, Any]:
    from pivotrl_cli.model.chat import ChatFormat
    from pivotrl_cli.stages.train.grpo import Grpo
    from pivotrl_cli.stages.train.sft import Sft
    from pivotrl_cli.stages.train.state import open_trained

    trained = open_trained(config, output.resumed)
    chat, deck = ChatFormat(load_tokenizer(resolve(config.model))), Deck(table, rows.numbers, rows.weights, config.seed)
    plain_reason = _plain_reason(config, trained.model)
    parts = (config, trained.model, chat, trained.optimizer, deck)
    tree = plain_reason is None
    learner: Learner = Sft(*parts, tree=tree) if config.method == "sft" else Grpo(source, *parts, tree=tree)
    if output.resumed:
        learner.go_to(output.resumed.cursor())
    try:
        stopped = _loop(config, learner, output, trained)
    finally:
        learner.close()
    summary = _summary(config, rows, output.metrics, stopped) | {"plain_layout": plain_reason}
    trained.write_model(output.partial, chat.tokenizer, adapter=config.lora_output == "adapter")
    output.finish(summary, model_card(config, output.provenance, summary, output.metrics))
    return summary | ({"resumed_after": output.resumed.step} if output.resumed else {})


def _loop(config: TrainConfig, learner: Learner, output: RunFolder, trained: Trained) -> str:
    """Run the steps that are left; returns why it ended."""
    loggers, saving = opened_loggers(config, output), 0.0
    with Progress(f"train {config.method}", config.steps, "steps") as bar, loggers as log:
        if output.metrics:
            bar.advance(len(output.metrics), f"going on after step {len(output.metrics)}")
        while len(output.metrics) < config.steps:
            if stop := _why_stop(config, output):
                return stop
            step, watch = len(output.metrics) + 1, Stopwatch()
            metrics, rollouts = learner.step(step)
            metrics = metrics.model_copy(update={"seconds_save": saving})
            output.write_step(metrics, rollouts)
            log(metrics)
            with watch("save"):
                _save(config, learner, output, trained)
            saving = watch.seconds["save"]
            bar.advance(1, _note(metrics))
    return _why_stop(config, output) or "all steps done"


def _save(config: TrainConfig, learner: Learner, output: RunFolder, trained: Trained) -> None:
    """Write what is due after the last step; after the last of all, the model is the output."""
    step, tokenizer = len(output.metrics), learner.chat.tokenizer
    if step >= config.steps:
        return
    if config.checkpoint_every and step % config.checkpoint_every == 0:
        output.write_checkpoint(partial(trained.write_checkpoint, tokenizer=tokenizer), learner.cursor())
    if config.save_every and step % config.save_every == 0:
        adapter = config.lora_output == "adapter"
        output.write_copy(partial(trained.write_model, tokenizer=tokenizer, adapter=adapter))


def _why_stop(config: TrainConfig, output: RunFolder) -> str | None:
    """Why the last steps end the run; raises where they end it badly."""
    skipped = output.metrics[-MAX_SKIPPED_STEPS:]
    if len(skipped) == MAX_SKIPPED_STEPS and all(m.skipped for m in skipped):
        raise RunError(
            f"step {skipped[-1].step}: {MAX_SKIPPED_STEPS} steps in a row were skipped, the last because"
            f" {skipped[-1].skipped}",
            f"lower --learning-rate; what was learnt before is in {output.partial}/checkpoints",
        )
    unit = "tasks" if config.method == "e2e" else "pivots"
    if output.metrics and not output.metrics[-1].n_active:
        return f"step {output.metrics[-1].step}: all {unit} are retired"
    empty = output.metrics[-config.max_empty_steps :]
    if len(empty) < config.max_empty_steps or any(m.loss is not None or m.skipped for m in empty):
        return None
    if empty[-1].reward_mean is None:
        raise _nothing_to_learn_from(config, empty[-1], output)
    return f"step {empty[-1].step}: no group varied in {config.max_empty_steps} steps, the {unit} are used up"


def _plain_reason(config: TrainConfig, model: PreTrainedModel) -> str | None:
    """Why rollouts are not laid out as prefix trees; None if they are, and the model has passed the self-check."""
    from pivotrl_cli.learn.policy import plain_reason
    from pivotrl_cli.learn.self_check import TreeMismatch, self_check

    reason = "--layout plain" if config.layout == "plain" else plain_reason(model)
    _check_sharing(config, model, reason)
    if reason is not None:
        if config.layout == "tree":
            print(f"train: plain layout, several times slower: {reason}", file=sys.stderr, flush=True)
        return reason
    try:
        self_check(model)
    except TreeMismatch as error:
        raise RunError(f"{config.model}: {error}", "train with --layout plain, and report the model") from error
    return None


def _check_sharing(config: TrainConfig, model: PreTrainedModel, plain_reason: str | None) -> None:
    """Raise where the processes cannot share this model's rows."""
    from pivotrl_cli.learn.ulysses import sequence_parallel_obstacle

    n = config.sequence_parallel
    reason = f"plain layout, {plain_reason}" if plain_reason else sequence_parallel_obstacle(model, n)
    if n > 1 and reason:
        raise ConfigError(f"--sequence-parallel {n}: {config.model} cannot share its rows: {reason}", "leave it out")


def _nothing_to_learn_from(config: TrainConfig, last: StepMetrics, output: RunFolder) -> RunError:
    unit = "tasks" if config.method == "e2e" else "rows"
    what = f"{last.n_unusable} {unit} that do not fit the context or the chat template"
    if config.method == "sft":
        return RunError(f"step {last.step}: nothing but {what}", "see prompt_tokens in the profile table")
    return RunError(
        f"step {last.step}: no rollout could be scored: {last.n_unscored} cut or failed, {what}",
        f"raise --max-new-tokens if they were cut; the rollouts are in {output.partial}",
    )


def _note(metrics: StepMetrics) -> str:
    """The figures beside the progress: what was learnt from, what it cost, and where the time went."""
    figures = [f"skipped: {metrics.skipped}"] if metrics.skipped else []
    if metrics.reward_mean is not None:
        n_groups = metrics.n_groups + metrics.n_all_right + metrics.n_all_wrong
        figures += [f"reward {metrics.reward_mean:.2f}", f"{metrics.n_groups / max(1, n_groups):.0%} mixed"]
    elif metrics.loss is not None:
        figures.append(f"loss {metrics.loss:.3f}")
    elif not metrics.skipped:
        figures.append("nothing scored")
    if metrics.kl is not None:
        figures.append(f"KL {metrics.kl:.3g}")
    figures.append(f"{short(metrics.tokens_per_second)} tokens/s")
    if metrics.rollout_turns:
        figures.append(f"{metrics.rollout_turns:,} rollout turns")
    return ", ".join([*figures, _phases(metrics)])


def _phases(metrics: StepMetrics) -> str:
    """Shares of the step's time, those of at least one in a hundred."""
    seconds = {name: getattr(metrics, f"seconds_{name}") for name in PHASES}
    shares = {name: spent / max(sum(seconds.values()), 1e-9) for name, spent in seconds.items()}
    return " ".join(f"{name} {share:.0%}" for name, share in shares.items() if share >= 0.01)


class _Rows(NamedTuple):
    """What a run draws from."""

    numbers: np.ndarray
    """Of rows in the table."""
    weights: np.ndarray
    """How often each is drawn, relative to the others."""
    n_held_out: int
    """Rows of another split."""


def _rows(table: Table[Candidate], config: TrainConfig) -> _Rows:
    """The rows of the training split; for whole episodes the first row of each task."""
    in_train = np.flatnonzero(table.frame(["split"])["split"].to_numpy() == "train")
    if not len(in_train):
        raise InputError(f"{table.name}: no rows in the train split", "see `pivotrl inspect` for what is in the table")
    n_held_out = table.n_rows - len(in_train)
    if config.method == "e2e":
        tasks = table.frame(["task_id"])["task_id"].to_numpy()[in_train]
        in_train = in_train[np.sort(np.unique(tasks, return_index=True)[1])]
    if config.method == "e2e" or not table.has("weight"):
        return _Rows(in_train, np.ones(len(in_train)), n_held_out)
    return _Rows(in_train, table.frame(["weight"])["weight"].to_numpy()[in_train], n_held_out)


def _verifier_names(table: Table[Candidate], config: TrainConfig) -> Sequence[str]:
    if config.method != "grpo":
        return []
    return [config.verifier] if config.verifier else table.distinct("verifier")


def _environment_names(table: Table[Candidate], config: TrainConfig) -> Sequence[str]:
    if config.method != "e2e":
        return []
    return [config.environment] if config.environment else table.frame(["domain"])["domain"].unique().sort().to_list()


def _summary(config: TrainConfig, rows: _Rows, metrics: list[StepMetrics], stopped: str) -> dict[str, Any]:
    rewards = [m.reward_mean for m in metrics if m.reward_mean is not None]
    return {
        "method": config.method,
        "steps": len(metrics),
        "stopped": stopped,
        "rows": len(rows.numbers),
        "holdout_rows_left_out": rows.n_held_out,
        "rollout_turns": metrics[-1].rollout_turns,
        "completion_tokens_trained": sum(m.n_completion_tokens for m in metrics),
        "groups_trained": sum(m.n_groups for m in metrics),
        "groups_all_right": sum(m.n_all_right for m in metrics),
        "groups_all_wrong": sum(m.n_all_wrong for m in metrics),
        "rows_retired_right": sum(m.n_retired_right for m in metrics),
        "rows_retired_wrong": sum(m.n_retired_wrong for m in metrics),
        "rows_readmitted": sum(m.n_readmitted for m in metrics),
        "rollouts_unscored": sum(m.n_unscored for m in metrics),
        "turns_penalised": sum(m.n_penalised for m in metrics),
        "rows_unusable": sum(m.n_unusable for m in metrics),
        "steps_skipped": sum(m.skipped is not None for m in metrics),
        "reward_first": rewards[0] if rewards else None,
        "reward_last": rewards[-1] if rewards else None,
        "loss_first": metrics[0].loss,
        "loss_last": metrics[-1].loss,
    }


def describe(summary: dict[str, Any]) -> RenderableType:
    """The summary for a terminal."""
    from rich.table import Table as RichTable

    table = RichTable(title=f"train ({summary['method']})", title_justify="left", show_header=False, box=None)
    table.add_row("steps", f"{summary['steps']:,}", summary["stopped"])
    if summary["steps_skipped"]:
        table.add_row("skipped", f"{summary['steps_skipped']:,}", "steps whose gradient could not be used")
    if summary["plain_layout"] is not None:
        table.add_row("layout", "plain", summary["plain_layout"])
    unit = "tasks" if summary["method"] == "e2e" else "rows"
    table.add_row(unit, f"{summary['rows']:,}", f"{summary['rows_unusable']:,} draws unusable (too long)")
    if summary["method"] != "sft":
        replaced = f"{summary['groups_all_right']:,} all right, {summary['groups_all_wrong']:,} all wrong"
        table.add_row("rollout turns", f"{summary['rollout_turns']:,}", f"{summary['rollouts_unscored']:,} unscored")
        table.add_row("groups trained", f"{summary['groups_trained']:,}", f"without variance: {replaced}")
        if n_retired := summary["rows_retired_right"] + summary["rows_retired_wrong"]:
            why = f"{summary['rows_retired_right']:,} solved, {summary['rows_retired_wrong']:,} hopeless"
            table.add_row("retired", f"{n_retired:,}", f"{why}; {summary['rows_readmitted']:,} came back")
        if summary["turns_penalised"]:
            table.add_row("penalised", f"{summary['turns_penalised']:,}", "turns with broken calls or reasoning")
        if summary["reward_first"] is not None:
            table.add_row("mean reward", "", f"{summary['reward_first']:.3f} -> {summary['reward_last']:.3f}")
    elif summary["loss_first"] is not None and summary["loss_last"] is not None:
        table.add_row("loss", "", f"{summary['loss_first']:.3f} -> {summary['loss_last']:.3f}")
    for row in cost_row(summary):
        table.add_row(*row)
    table.add_row("tokens trained", f"{summary['completion_tokens_trained']:,}", "")
    return table
