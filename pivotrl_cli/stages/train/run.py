"""Train: GRPO on pivots; and as its baselines, imitation of the same rows and GRPO on whole episodes of their tasks.

    for each step: draw pivots, sample a group at each, score, update on the groups whose rewards vary

The run lives in `OUTPUT.partial`, where its metrics and rollouts can be read while it runs, and becomes `OUTPUT` once
it is complete: a Hugging Face folder with `metrics.parquet` and `rollouts.parquet` beside the weights. If it is
interrupted, run the same command again to resume from the last checkpoint; the final weights are the same.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.environments import load_environment
from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.model.folder import fingerprint, load_tokenizer, resolve, template_fingerprints
from pivotrl_cli.rows import Candidate, StepMetrics
from pivotrl_cli.stages.shared.judge import judge_usage, open_judge
from pivotrl_cli.stages.shared.model_check import check_profile
from pivotrl_cli.stages.train.launch import open_run, process_group
from pivotrl_cli.stages.train.model_card import model_card
from pivotrl_cli.stages.train.penalties import check_format
from pivotrl_cli.stages.train.pivot_order import PivotSampler
from pivotrl_cli.stages.train.run_folder import RunFolder
from pivotrl_cli.stages.train.summary import TrainSummary, describe, summarize
from pivotrl_cli.stages.train.targets import check_targets
from pivotrl_cli.storage.provenance import Provenance, source_fingerprint
from pivotrl_cli.storage.table import Table
from pivotrl_cli.verifiers import load_verifier

if TYPE_CHECKING:
    from pivotrl_cli.stages.train.groups import RolloutSource
    from pivotrl_cli.stages.train.method import Method

__all__ = ["describe", "run"]


def run(config: TrainConfig) -> TrainSummary:
    """Train a model on a pivots table; under torchrun together with the other ranks."""
    with process_group(config):
        return _run(config)


def _check(config: TrainConfig) -> None:
    """Raise ConfigError for options that exclude each other."""
    if config.output == "-" or not Path(config.output).name.strip("."):
        raise ConfigError(f"-o {config.output}: train writes a new folder", "name one with -o")
    if config.lora_rank is None and (config.lora_alpha is not None or config.lora_output == "adapter"):
        raise ConfigError("--lora-alpha and --lora-output are for adapters", "add --lora-rank, such as 16")
    if config.engine_args and config.engine != "vllm":
        raise ConfigError("--engine-args is for engine vllm", "add --engine vllm")
    if (config.engine == "vllm-server") != (config.endpoint is not None):
        raise ConfigError("--engine vllm-server and --endpoint belong together", "give both or neither")
    if config.environment is not None and config.method != "e2e":
        raise ConfigError("--environment is for whole episodes", "add --method e2e")
    if config.method == "sft" and (config.reprofile_every or config.reprofile_below):
        raise ConfigError("--method sft has no rollouts to re-profile with", "leave out --reprofile-every and -below")


def _run(config: TrainConfig) -> TrainSummary:
    _check(config)
    with ExitStack() as stack:
        table = stack.enter_context(Table.open(config.pivots, Candidate))
        rows = _rows(table, config)
        names = _column_values(table, "verifier", config.verifier) if config.method == "grpo" else []
        judge = stack.enter_context(open_judge(names, config))
        verifiers = {name: load_verifier(name, judge) for name in names}
        worlds = _column_values(table, "domain", config.environment) if config.method == "e2e" else []
        environments = {name: load_environment(name) for name in worlds}
        plug_ins: dict[str, Any] = {f"verifier {Path(name).name}": one for name, one in verifiers.items()}
        plug_ins |= {f"environment {Path(name).name}": one for name, one in environments.items()}
        fingerprints = {name: source_fingerprint(one) for name, one in sorted(plug_ins.items())}
        fingerprints |= {"model": fingerprint(resolve(config.model))} | template_fingerprints(config)
        if config.method == "grpo" and not config.allow_foreign_profile:
            check_profile(table, config.model, fingerprints["model"], "add --allow-foreign-profile")
        provenance = Provenance.of("train", StepMetrics, config, [table.as_input()], fingerprints)
        output = open_run(Path(config.output), provenance, config, stack)
        if isinstance(output, TrainSummary):
            return output
        from pivotrl_cli.stages.train.rollouts import EpisodeRollouts, PivotRollouts

        e2e = config.method == "e2e"
        source = EpisodeRollouts(environments, config) if e2e else PivotRollouts(verifiers, config)
        return _train(config, table, rows, source, output).model_copy(update={"judge": judge_usage(judge)})


def _train(
    config: TrainConfig, table: Table[Candidate], rows: _Rows, source: RolloutSource, output: RunFolder
) -> TrainSummary:
    from pivotrl_cli.model.chat import ChatFormat
    from pivotrl_cli.stages.train.grpo import Grpo
    from pivotrl_cli.stages.train.layout import plain_layout_reason
    from pivotrl_cli.stages.train.loop import train_loop
    from pivotrl_cli.stages.train.sft import Sft
    from pivotrl_cli.stages.train.state import open_state

    chat = ChatFormat(load_tokenizer(resolve(config.model), config))
    check_format(chat.found.format, config)
    targets = check_targets(table, rows.numbers, chat, config) if config.method != "e2e" else None
    usable = slice(None) if targets is None else targets.usable
    state = open_state(config, output.resumed)
    order = PivotSampler(table, rows.numbers[usable], rows.weights[usable], config.seed)
    plain_layout = plain_layout_reason(config, state.model)
    parts, tree = (config, state.model, chat, state.optimizer, order), plain_layout is None
    method: Method = Sft(*parts, tree=tree) if config.method == "sft" else Grpo(source, *parts, tree=tree)
    if output.resumed:
        method.load_state_dict(output.resumed.method_state())
    try:
        stopped = train_loop(config, method, output, state)
    finally:
        method.close()
    summary = summarize(
        config,
        output.metrics,
        stopped=stopped,
        n_rows=len(rows.numbers),
        n_held_out=rows.n_held_out,
        plain_layout=plain_layout,
        target_faults=targets.faults if targets is not None else {},
    )
    state.write_model(output.partial, chat.tokenizer, adapter=config.lora_output == "adapter")
    output.finish(summary, model_card(config, output.provenance, summary, output.metrics))
    return summary.model_copy(update={"resumed_after": output.resumed.step if output.resumed else None})


class _Rows(NamedTuple):
    """The rows that a run draws from."""

    numbers: np.ndarray
    """Row numbers in the table."""
    weights: np.ndarray
    """Sampling weights."""
    n_held_out: int
    """Rows of other splits."""


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


def _column_values(table: Table[Candidate], column: str, override: str | None) -> list[str]:
    """The plug-ins that a column names, or the one of the config instead."""
    return [override] if override else table.frame([column])[column].unique().sort().to_list()
