"""Prefix trees or padded sequences: the choice for a model, and the check that it may be trusted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.errors import ConfigError, RunError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def plain_layout_reason(config: TrainConfig, model: PreTrainedModel) -> str | None:
    """Why prompts are not laid out as prefix trees; None if they are, and the model has passed the self-check."""
    from pivotrl_cli.learn.policy import plain_reason
    from pivotrl_cli.learn.self_check import TreeMismatch, self_check

    reason = "--layout plain" if config.layout == "plain" else plain_reason(model)
    _check_sequence_parallel(config, model, reason)
    if reason is not None:
        if config.layout == "tree":
            print(f"train: plain layout, several times slower: {reason}", file=sys.stderr, flush=True)
        return reason
    try:
        self_check(model)
    except TreeMismatch as error:
        raise RunError(f"{config.model}: {error}", "train with --layout plain, and report the model") from error
    return None


def _check_sequence_parallel(config: TrainConfig, model: PreTrainedModel, plain_reason: str | None) -> None:
    """Raise ConfigError where the ranks cannot share this model's rows."""
    from pivotrl_cli.learn.ulysses import sequence_parallel_obstacle

    n = config.sequence_parallel
    reason = f"plain layout, {plain_reason}" if plain_reason else sequence_parallel_obstacle(model, n)
    if n > 1 and reason:
        raise ConfigError(f"--sequence-parallel {n}: {config.model} cannot share its rows: {reason}", "leave it out")
