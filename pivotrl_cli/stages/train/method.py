"""What the training methods share: a step, and the state that a checkpoint keeps beside the weights."""

from __future__ import annotations

import resource
import sys
from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, get_args

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.learn.batch import UpdateStats
from pivotrl_cli.learn.optimizer import Optimizer, learning_rate
from pivotrl_cli.model.chat import ChatFormat
from pivotrl_cli.rows import StepMetrics, TrainRollout
from pivotrl_cli.stages.train.pivot_order import PivotSampler
from pivotrl_cli.stages.train.stopwatch import Stopwatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Method(ABC):
    """A training method; resumable by its `state_dict`."""

    def __init__(
        self,
        config: TrainConfig,
        model: PreTrainedModel,
        chat: ChatFormat,
        optimizer: Optimizer,
        order: PivotSampler,
        *,
        tree: bool,
    ) -> None:
        self.config, self.model, self.chat, self.tree = config, model, chat, tree
        self.optimizer, self.order = optimizer, order
        self.rollout_turns = 0

    @abstractmethod
    def step(self, step: int) -> tuple[StepMetrics, list[TrainRollout]]:
        """Run step number `step`, from 1, counted from 1."""

    def state_dict(self) -> dict[str, Any]:
        """Position in the data and counters, as JSON values."""
        return {"rows_drawn": self.order.n_drawn, "rollout_turns": self.rollout_turns}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume a new method from a `state_dict`."""
        self.order.skip(state["rows_drawn"])
        self.rollout_turns = state["rollout_turns"]

    def close(self) -> None:  # noqa: B027  # SFT holds nothing
        """Release what the method holds."""

    def learning_rate(self, step: int) -> float:
        return learning_rate(
            step,
            peak=self.config.learning_rate,
            schedule=self.config.schedule,
            warmup_steps=self.config.warmup_steps,
            total_steps=self.config.steps,
        )


def step_metrics(
    step: int, rate: float, stats: UpdateStats | None, watch: Stopwatch, n_tokens: int, **known: Any
) -> StepMetrics:
    """A row of the metrics table: statistics of the update, `known` columns, and null or 0 for the rest.

    `n_tokens` is the number of tokens of all full sequences of the step.
    """
    fields = StepMetrics.model_fields.items()
    empty = {name: None if type(None) in get_args(field.annotation) else 0 for name, field in fields}
    measured = asdict(stats) if stats is not None else {}
    machine = {"tokens_per_second": n_tokens / watch.total, "peak_memory": peak_memory(), **watch.columns()}
    return StepMetrics(**{**empty, **measured, **machine, "step": step, "learning_rate": rate, **known})


def peak_memory() -> float:
    """Peak memory so far, in GiB: of the GPU where this process uses one, else of the process."""
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
