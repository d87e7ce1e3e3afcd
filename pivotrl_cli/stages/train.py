"""Train: GRPO on pivots, or imitation of the same rows as its baseline.

    for each step: draw pivots, sample a group at each, score, update on the groups whose rewards vary

The run lives in `OUTPUT.partial` (its metrics and rollouts can be read there while it goes on) and becomes `OUTPUT`
once it is complete: a Hugging Face folder with `metrics.parquet` and `rollouts.parquet` beside the weights. Ended
before that, the same command goes on from the last checkpoint and ends in the same weights.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pivotrl_cli.checkpoint import fingerprint, load_tokenizer, local_folder, resolve
from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.errors import ConfigError, InputError, RunError
from pivotrl_cli.progress import Progress
from pivotrl_cli.provenance import Provenance, source_fingerprint
from pivotrl_cli.rows import Candidate, StepMetrics
from pivotrl_cli.stages.judging import cost_row, judge_cost, opened_judge
from pivotrl_cli.stages.launch import crew, load_shared, open_run
from pivotrl_cli.stages.lineage import check_profile
from pivotrl_cli.stages.loggers import opened_loggers
from pivotrl_cli.stages.run_folder import RunFolder
from pivotrl_cli.table import Table
from pivotrl_cli.verifiers import Verifier, load_verifier

if TYPE_CHECKING:
    from peft import PeftModel
    from rich.console import RenderableType
    from transformers import PreTrainedModel

    from pivotrl_cli.stages.learners import Learner

MAX_EMPTY_STEPS = 3
"""Steps in a row without any group that varies, after which training stops: the pivots are used up."""
MAX_SKIPPED_STEPS = 3
"""Steps in a row without a usable gradient, after which the run fails."""


def run(config: TrainConfig) -> dict[str, Any]:
    """Train a model on a pivots table, with the other processes where there are any; returns the summary."""
    with crew(config):
        return _run(config)


def _run(config: TrainConfig) -> dict[str, Any]:
    folder = Path(config.output)
    if config.output == "-" or not folder.name.strip("."):
        raise ConfigError(f"-o {config.output}: train writes a new folder", "name one with -o")
    if config.lora_rank is None and (config.lora_alpha is not None or config.lora_output == "adapter"):
        raise ConfigError("--lora-alpha and --lora-output are for adapters", "add --lora-rank, such as 16")
    if config.engine_args and config.sampler != "vllm":
        raise ConfigError("--engine-args is for the sampler vllm", "add --sampler vllm")
    with ExitStack() as stack:
        table = stack.enter_context(Table.open(config.pivots, Candidate))
        rows, weights = _rows(table)
        names = _verifier_names(table, config)
        judge = stack.enter_context(opened_judge(names, config))
        verifiers = {name: load_verifier(name, judge) for name in names}
        fingerprints = {f"verifier {Path(name).name}": source_fingerprint(v) for name, v in sorted(verifiers.items())}
        fingerprints["model"] = fingerprint(resolve(config.model))
        if config.method == "grpo" and not config.allow_foreign_profile:
            check_profile(table, config.model, fingerprints["model"], "add --allow-foreign-profile")
        provenance = Provenance.of("train", StepMetrics, config, [table.as_input()], fingerprints)
        output = open_run(folder, provenance, config, stack)
        if isinstance(output, dict):
            return output | {"cached": True}
        return _train(config, table, rows, weights, verifiers, output) | judge_cost(judge)


def _train(
    config: TrainConfig,
    table: Table[Candidate],
    rows: np.ndarray,
    weights: np.ndarray,
    verifiers: dict[str, Verifier],
    output: RunFolder,
) -> dict[str, Any]:
    from pivotrl_cli.chat import ChatFormat
    from pivotrl_cli.learn.distributed import state_of
    from pivotrl_cli.learn.optimiser import Optimiser
    from pivotrl_cli.stages.learners import Grpo, Sft
    from pivotrl_cli.stages.pivot_groups import Deck

    begin = resolve(config.model)
    started = begin if config.lora_rank or not output.resumed else output.resumed.folder
    model = load_shared(started, config)
    lora = _adapted(config, model, output)
    optimiser = Optimiser(
        model,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        skip_grad_norm=config.skip_grad_norm,
    )
    chat, deck = ChatFormat(load_tokenizer(begin)), Deck(table, rows, weights, config.seed)
    plain_reason = _plain_reason(config, model)
    learner = (Grpo if config.method == "grpo" else Sft)(
        config, model, chat, optimiser, deck, verifiers, tree=plain_reason is None
    )
    if output.resumed:
        optimiser.restore(output.resumed.tensors())
        learner.go_to(output.resumed.cursor())
    try:
        stopped = _loop(config, learner, output, lora or model)
    finally:
        learner.close()
    summary = _summary(config, table.n_rows, len(rows), output.metrics, stopped) | {"plain_layout": plain_reason}
    output.write_model(_result(config, model, lora), chat.tokenizer, state_of(model) if lora is None else None)
    output.finish(summary)
    return summary | ({"resumed_after": output.resumed.step} if output.resumed else {})


def _adapted(config: TrainConfig, model: PreTrainedModel, output: RunFolder) -> PeftModel | None:
    """The model with adapters where the config asks for them, those of the checkpoint where there is one."""
    if config.lora_rank is None:
        return None
    from pivotrl_cli.learn.lora import adapt

    alpha = config.lora_alpha or 2.0 * config.lora_rank
    lora = adapt(model, rank=config.lora_rank, alpha=alpha, targets=config.lora_targets, seed=config.seed)
    if not local_folder(config.model).is_dir():
        lora.peft_config["default"].base_model_name_or_path = config.model
    if output.resumed:
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(lora, output.resumed.adapter())
    return lora


def _result(config: TrainConfig, model: PreTrainedModel, lora: PeftModel | None) -> PreTrainedModel | PeftModel:
    """What the output holds."""
    if lora is None:
        return model
    if config.lora_output == "adapter":
        return lora
    merged: PreTrainedModel = lora.merge_and_unload()
    return merged


def _loop(config: TrainConfig, learner: Learner, output: RunFolder, saved: PreTrainedModel | PeftModel) -> str:
    """Run the steps that are left; returns why it ended."""
    from pivotrl_cli.learn.distributed import state_of

    loggers = opened_loggers(config, output)
    with Progress(f"train {config.method}", config.steps, "steps") as bar, loggers as log:
        if output.metrics:
            bar.advance(len(output.metrics), f"going on after step {len(output.metrics)}")
        while len(output.metrics) < config.steps:
            if stop := _why_stop(config, output):
                return stop
            step = len(output.metrics) + 1
            metrics, rollouts = learner.step(step)
            output.write_step(metrics, rollouts)
            log(metrics)
            if config.checkpoint_every and step % config.checkpoint_every == 0 and step < config.steps:
                cursor, tensors = learner.cursor(), learner.optimiser.state()
                state = state_of(learner.model) if saved is learner.model else None
                output.write_checkpoint(saved, learner.chat.tokenizer, tensors, cursor, state)
            bar.advance(1, _note(metrics))
    return _why_stop(config, output) or "all steps done"


def _why_stop(config: TrainConfig, output: RunFolder) -> str | None:
    """Why the last steps end the run; raises where they end it badly."""
    skipped = output.metrics[-MAX_SKIPPED_STEPS:]
    if len(skipped) == MAX_SKIPPED_STEPS and all(m.skipped for m in skipped):
        raise RunError(
            f"step {skipped[-1].step}: {MAX_SKIPPED_STEPS} steps in a row were skipped, the last because"
            f" {skipped[-1].skipped}",
            f"lower --learning-rate; what was learnt before is in {output.partial}/checkpoints",
        )
    empty = output.metrics[-MAX_EMPTY_STEPS:]
    if len(empty) < MAX_EMPTY_STEPS or any(m.loss is not None or m.skipped for m in empty):
        return None
    if empty[-1].reward_mean is None:
        raise _nothing_to_learn_from(config, empty[-1], output)
    return f"step {empty[-1].step}: no group varied in {MAX_EMPTY_STEPS} steps, the pivots are used up"


def _plain_reason(config: TrainConfig, model: PreTrainedModel) -> str | None:
    """Why rollouts are not laid out as prefix trees; None if they are, and the model has passed the self-check."""
    from pivotrl_cli.learn.check import TreeMismatch, self_check
    from pivotrl_cli.learn.policy import plain_reason

    reason = "--layout plain" if config.layout == "plain" else plain_reason(model)
    if reason is not None:
        if config.layout == "tree":
            print(f"train: plain layout, several times slower: {reason}", file=sys.stderr, flush=True)
        return reason
    try:
        self_check(model)
    except TreeMismatch as error:
        raise RunError(f"{config.model}: {error}", "train with --layout plain, and report the model") from error
    return None


def _nothing_to_learn_from(config: TrainConfig, last: StepMetrics, output: RunFolder) -> RunError:
    what = f"{last.n_unusable} rows that do not fit the context or the chat template"
    if config.method == "sft":
        return RunError(f"step {last.step}: nothing but {what}", "see prompt_tokens in the profile table")
    return RunError(
        f"step {last.step}: no rollout could be scored: {last.n_unscored} cut or failed, {what}",
        f"raise --max-new-tokens if they were cut; the rollouts are in {output.partial}",
    )


def _note(metrics: StepMetrics) -> str:
    if metrics.skipped:
        return f"skipped: {metrics.skipped}"
    if metrics.loss is None and metrics.reward_mean is None:
        return "nothing scored"
    if metrics.reward_mean is None:
        return f"loss {metrics.loss:.3f}"
    mixed = metrics.n_groups / max(1, metrics.n_groups + metrics.n_all_right + metrics.n_all_wrong)
    kl = "" if metrics.kl is None else f", KL {metrics.kl:.3g}"
    return f"reward {metrics.reward_mean:.2f}, {mixed:.0%} mixed{kl}, {metrics.rollout_turns:,} rollout turns"


def _rows(table: Table[Candidate]) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the training split, and their weights."""
    in_train = np.flatnonzero(table.frame(["split"])["split"].to_numpy() == "train")
    if not len(in_train):
        raise InputError(f"{table.name}: no rows in the train split", "see `pivotrl inspect` for what is in the table")
    if not table.has("weight"):
        return in_train, np.ones(len(in_train))
    return in_train, table.frame(["weight"])["weight"].to_numpy()[in_train]


def _verifier_names(table: Table[Candidate], config: TrainConfig) -> Sequence[str]:
    if config.method == "sft":
        return []
    return [config.verifier] if config.verifier else table.frame(["verifier"])["verifier"].unique().sort().to_list()


def _summary(config: TrainConfig, n_rows: int, n_used: int, metrics: list[StepMetrics], stopped: str) -> dict[str, Any]:
    rewards = [m.reward_mean for m in metrics if m.reward_mean is not None]
    return {
        "method": config.method,
        "steps": len(metrics),
        "stopped": stopped,
        "rows": n_used,
        "holdout_rows_left_out": n_rows - n_used,
        "rollout_turns": metrics[-1].rollout_turns,
        "completion_tokens_trained": sum(m.n_completion_tokens for m in metrics),
        "groups_trained": sum(m.n_groups for m in metrics),
        "groups_all_right": sum(m.n_all_right for m in metrics),
        "groups_all_wrong": sum(m.n_all_wrong for m in metrics),
        "rollouts_unscored": sum(m.n_unscored for m in metrics),
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
    table.add_row("rows", f"{summary['rows']:,}", f"{summary['rows_unusable']:,} draws unusable (too long)")
    if summary["method"] == "grpo":
        replaced = f"{summary['groups_all_right']:,} all right, {summary['groups_all_wrong']:,} all wrong"
        table.add_row("rollout turns", f"{summary['rollout_turns']:,}", f"{summary['rollouts_unscored']:,} unscored")
        table.add_row("groups trained", f"{summary['groups_trained']:,}", f"without variance: {replaced}")
        if summary["reward_first"] is not None:
            table.add_row("mean reward", "", f"{summary['reward_first']:.3f} -> {summary['reward_last']:.3f}")
    elif summary["loss_first"] is not None and summary["loss_last"] is not None:
        table.add_row("loss", "", f"{summary['loss_first']:.3f} -> {summary['loss_last']:.3f}")
    for row in cost_row(summary):
        table.add_row(*row)
    table.add_row("tokens trained", f"{summary['completion_tokens_trained']:,}", "")
    return table
