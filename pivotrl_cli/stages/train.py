"""Train: GRPO on pivots, or imitation of the same rows as its baseline.

    for each step: draw pivots, sample a group at each, score, update on the groups whose rewards vary

The run lives in `OUTPUT.partial` (its metrics and rollouts can be read there while it goes on) and becomes `OUTPUT`
once it is complete: a Hugging Face folder with `metrics.parquet` and `rollouts.parquet` beside the weights.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pivotrl_cli.checkpoint import fingerprint, load_model, load_tokenizer, place, resolve, save
from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.errors import ConfigError, InputError, OutputError, RunError
from pivotrl_cli.progress import Progress
from pivotrl_cli.provenance import Provenance, refuse_another, source_fingerprint
from pivotrl_cli.rows import Candidate, StepMetrics, TrainRollout
from pivotrl_cli.stages.judging import cost_row, judge_cost, opened_judge
from pivotrl_cli.table import Table, TableWriter
from pivotrl_cli.verifiers import Verifier, load_verifier

if TYPE_CHECKING:
    from rich.console import RenderableType
    from transformers import PreTrainedModel

    from pivotrl_cli.chat import ChatFormat
    from pivotrl_cli.learn.optimiser import Optimiser
    from pivotrl_cli.learn.step import UpdateStats
    from pivotrl_cli.stages.pivot_groups import Deck, StepGroups

MAX_EMPTY_STEPS = 3
"""Steps in a row without any group that varies, after which training stops: the pivots are used up."""


def run(config: TrainConfig) -> dict[str, Any]:
    """Train a model on a pivots table; returns the summary."""
    folder = Path(config.output)
    if config.output == "-" or not folder.name.strip("."):
        raise ConfigError(f"-o {config.output}: train writes a new folder", "name one with -o")
    with ExitStack() as stack:
        table = stack.enter_context(Table.open(config.pivots, Candidate))
        rows, weights = _rows(table)
        names = _verifier_names(table, config)
        judge = stack.enter_context(opened_judge(names, config))
        verifiers = {name: load_verifier(name, judge) for name in names}
        fingerprints = {f"verifier {Path(name).name}": source_fingerprint(v) for name, v in sorted(verifiers.items())}
        fingerprints["model"] = fingerprint(resolve(config.model))
        provenance = Provenance.of("train", StepMetrics, config, [table.as_input()], fingerprints)
        stored = _stored_summary(folder, provenance, config.force)
        if stored is not None:
            return stored | {"cached": True}
        return _train(config, table, rows, weights, verifiers, provenance) | judge_cost(judge)


def _train(
    config: TrainConfig,
    table: Table[Candidate],
    rows: np.ndarray,
    weights: np.ndarray,
    verifiers: dict[str, Verifier],
    provenance: Provenance,
) -> dict[str, Any]:
    from pivotrl_cli.chat import ChatFormat
    from pivotrl_cli.learn.optimiser import NonFiniteGradient, Optimiser
    from pivotrl_cli.stages.pivot_groups import Deck

    model, chat = _load(config, ChatFormat)
    optimiser = Optimiser(model, weight_decay=config.weight_decay, max_grad_norm=config.max_grad_norm)
    deck = Deck(table, rows, weights, config.seed)
    plain_reason = _plain_reason(config, model)
    tree = plain_reason is None
    trainer = (Grpo if config.method == "grpo" else Sft)(config, model, chat, optimiser, deck, verifiers, tree)
    output = RunFolder(Path(config.output), provenance)
    try:
        stopped = _loop(config, trainer, output)
    except NonFiniteGradient as error:
        raise RunError(f"step {len(output.metrics) + 1}: {error}", "lower --learning-rate") from error
    summary = _summary(config, table.n_rows, len(rows), output.metrics, stopped) | {"plain_layout": plain_reason}
    save(model, chat.tokenizer, output.partial)
    output.finish(summary)
    return summary


def _loop(config: TrainConfig, trainer: Grpo | Sft, output: RunFolder) -> str:
    """Run the steps; returns why it ended."""
    empty = 0
    with Progress(f"train {config.method}", config.steps, "steps") as bar:
        for step in range(1, config.steps + 1):
            metrics, rollouts = trainer.step(step)
            output.write_step(metrics, rollouts)
            empty = empty + 1 if metrics.loss is None else 0
            if empty == MAX_EMPTY_STEPS and metrics.reward_mean is None:
                raise _nothing_to_learn_from(config, metrics, output)
            if empty == MAX_EMPTY_STEPS:
                return f"step {step}: no group varied in {empty} steps, the pivots are used up"
            bar.advance(1, _note(metrics))
    return "all steps done"


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
    if metrics.loss is None and metrics.reward_mean is None:
        return "nothing scored"
    if metrics.reward_mean is None:
        return f"loss {metrics.loss:.3f}"
    return f"reward {metrics.reward_mean:.2f}, {metrics.n_groups} groups, {metrics.rollout_turns:,} rollout turns"


class Grpo:
    """One step: sample groups at pivots, update on those that vary."""

    def __init__(
        self,
        config: TrainConfig,
        model: PreTrainedModel,
        chat: ChatFormat,
        optimiser: Optimiser,
        deck: Deck,
        verifiers: dict[str, Verifier],
        tree: bool,
    ) -> None:
        from pivotrl_cli.engines.hf import HFEngine
        from pivotrl_cli.learn.step import GrpoOptions

        self.config, self.model, self.optimiser, self.deck, self.verifiers = config, model, optimiser, deck, verifiers
        self.engine = HFEngine(model, chat, config.sample_token_budget)
        self.reference = _load(config, type(chat))[0] if config.kl_coef > 0 else None
        self.options = GrpoOptions(
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            kl_coef=config.kl_coef,
            temperature=config.temperature,
            token_budget=config.token_budget,
            tree=tree,
        )
        self.rollout_turns = 0

    def step(self, step: int) -> tuple[StepMetrics, list[TrainRollout]]:
        """Sample, score and update; returns what happened."""
        from pivotrl_cli.stages.pivot_groups import sample_step

        started = time.monotonic()
        sampled = sample_step(step, self.deck, self.engine, self.verifiers, self.config)
        self.rollout_turns += sum(len(g.rollouts) for g in sampled.groups)
        between = time.monotonic()
        rate = _learning_rate(step, self.config)
        stats = self._update(sampled, rate)
        metrics = _grpo_metrics(step, sampled, stats, rate, self.rollout_turns, between - started)
        metrics = metrics.model_copy(update={"seconds_train": time.monotonic() - between})
        return metrics, [row for group in sampled.groups for row in group.rows(step)]

    def _update(self, sampled: StepGroups, rate: float) -> list[UpdateStats]:
        from pivotrl_cli.learn.step import grpo_update

        if not sampled.trained:
            return []
        batch = sampled.batch()
        return [
            grpo_update(self.model, self.optimiser, batch, self.options, rate, self.reference)
            for _ in range(self.config.updates_per_batch)
        ]


class Sft:
    """One step: imitate the demonstrated actions of the drawn rows."""

    def __init__(
        self,
        config: TrainConfig,
        model: PreTrainedModel,
        chat: ChatFormat,
        optimiser: Optimiser,
        deck: Deck,
        verifiers: dict[str, Verifier],
        tree: bool,
    ) -> None:
        self.config, self.model, self.chat, self.optimiser, self.deck = config, model, chat, optimiser, deck
        self.tree = tree
        self.context_length = int(model.config.get_text_config().max_position_embeddings)

    def step(self, step: int) -> tuple[StepMetrics, list[TrainRollout]]:
        """Update on one batch of demonstrations."""
        from pivotrl_cli.learn.step import SftBatch, sft_update

        started = time.monotonic()
        drawn = [self._tokens(self.deck.draw()) for _ in range(self.config.prompts_per_step)]
        usable = [pair for pair in drawn if pair is not None]
        rate = _learning_rate(step, self.config)
        stats = None
        if usable:
            batch = SftBatch(prompts=[p for p, _ in usable], completions=[c for _, c in usable])
            budget = self.config.token_budget
            stats = sft_update(self.model, self.optimiser, batch, rate, token_budget=budget, tree=self.tree)
        metrics = _metrics(step, stats, rate, n_groups=len(usable), n_unusable=len(drawn) - len(usable))
        return metrics.model_copy(update={"seconds_train": time.monotonic() - started}), []

    def _tokens(self, candidate: Candidate) -> tuple[list[int], list[int]] | None:
        from pivotrl_cli.chat import UnrenderableError

        try:
            prompt = self.chat.prompt_ids(candidate.state, candidate.tools)
            completion = self.chat.completion_ids(candidate.state, candidate.tools, candidate.expected_action)
        except UnrenderableError:
            return None
        return (prompt, completion) if len(prompt) + len(completion) <= self.context_length else None


def _grpo_metrics(
    step: int, sampled: StepGroups, stats: list[UpdateStats], rate: float, turns: int, seconds: float
) -> StepMetrics:
    rewards = [group for group in sampled.rewards() if group]
    flat = [r for group in rewards for r in group]
    constant = [group for group in rewards if len(set(group)) == 1]
    metrics = _metrics(step, stats[-1] if stats else None, rate, len(sampled.trained), sampled.n_unusable)
    return metrics.model_copy(
        update={
            "reward_mean": float(np.mean(flat)) if flat else None,
            "reward_std": float(np.mean([np.std(group) for group in rewards])) if rewards else None,
            "n_all_right": sum(group[0] == 1.0 for group in constant),
            "n_all_wrong": sum(group[0] < 1.0 for group in constant),
            "n_unscored": sum(len(g.rollouts) for g in sampled.groups) - len(flat),
            "rollout_turns": turns,
            "seconds_sample": seconds,
            "logprob_gap": stats[0].logprob_gap if stats else None,
        }
    )


def _metrics(step: int, stats: UpdateStats | None, rate: float, n_groups: int, n_unusable: int) -> StepMetrics:
    measured: dict[str, Any] = (
        asdict(stats)
        if stats is not None
        else dict.fromkeys(["loss", "entropy", "grad_norm", "kl", "ratio_mean", "clip_low", "clip_high", "logprob_gap"])
        | {"n_completion_tokens": 0}
    )
    return StepMetrics(
        step=step,
        reward_mean=None,
        reward_std=None,
        learning_rate=rate,
        n_groups=n_groups,
        n_all_right=0,
        n_all_wrong=0,
        n_unscored=0,
        n_unusable=n_unusable,
        rollout_turns=0,
        seconds_sample=0.0,
        seconds_train=0.0,
        **measured,
    )


class RunFolder:
    """The output folder while it is being made: metrics rewritten and rollouts added at every step."""

    def __init__(self, final: Path, provenance: Provenance) -> None:
        self.final = final
        self.partial = final.with_name(f"{final.name}.partial")
        self.provenance = provenance
        self.metrics: list[StepMetrics] = []
        try:
            shutil.rmtree(self.partial, ignore_errors=True)
            (self.partial / "rollouts").mkdir(parents=True)
        except OSError as error:
            raise OutputError(f"{final}: {error.strerror}", "choose a folder that can be written") from error

    def write_step(self, metrics: StepMetrics, rollouts: list[TrainRollout]) -> None:
        """Record one step."""
        self.metrics.append(metrics)
        with TableWriter(self.partial / "metrics.parquet", StepMetrics, self.provenance) as out:
            for row in self.metrics:
                out.write(row)
        if rollouts:
            with TableWriter(self._part(metrics.step), TrainRollout, self.provenance.for_table(TrainRollout)) as part:
                for rollout in rollouts:
                    part.write(rollout)

    def finish(self, summary: dict[str, Any]) -> None:
        """Join the rollouts, note the provenance, and give the folder its name."""
        parts = [path for m in self.metrics if (path := self._part(m.step)).exists()]
        provenance = self.provenance.for_table(TrainRollout)
        with TableWriter(self.partial / "rollouts.parquet", TrainRollout, provenance) as out:
            for path in parts:
                with Table.open(path, TrainRollout) as part:
                    for table in part.tables():
                        out.write_table(table)
        shutil.rmtree(self.partial / "rollouts")
        note = {"provenance": self.provenance.to_dict(), "summary": summary}
        (self.partial / "pivotrl.json").write_text(json.dumps(note, indent=1) + "\n")
        if self.final.is_dir():
            shutil.rmtree(self.final)
        self.partial.rename(self.final)

    def _part(self, step: int) -> Path:
        return self.partial / "rollouts" / f"{step:06d}.parquet"


def _stored_summary(folder: Path, provenance: Provenance, force: bool) -> dict[str, Any] | None:
    """The summary of a finished run with this provenance; raises where another output is in the way."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    note = folder / "pivotrl.json"
    try:
        stored = json.loads(note.read_text()) if note.is_file() else {}
    except ValueError:
        stored = {}
    if force:
        if not stored:
            raise OutputError(f"{folder} exists and pivotrl did not write it", "choose another name")
        return None
    refuse_another(str(folder), stored.get("provenance"), provenance)
    summary: dict[str, Any] = stored["summary"]
    return summary


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


def _load(config: TrainConfig, chat_format: Callable[..., ChatFormat]) -> tuple[PreTrainedModel, ChatFormat]:
    folder = resolve(config.model)
    return load_model(folder, *place(config.device, config.dtype)), chat_format(load_tokenizer(folder))


def _learning_rate(step: int, config: TrainConfig) -> float:
    from pivotrl_cli.learn.optimiser import learning_rate

    return learning_rate(
        step,
        peak=config.learning_rate,
        schedule=config.schedule,
        warmup_steps=config.warmup_steps,
        total_steps=config.steps,
    )


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
