"""GRPO steps: sample groups from the current weights, update (`learn.grpo`) on those whose rewards vary."""

from __future__ import annotations

import secrets
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pivotrl_cli.configs import EngineConfig, TrainConfig
from pivotrl_cli.endpoint import EndpointSettings
from pivotrl_cli.engines import Engine, vllm
from pivotrl_cli.engines.hf import HFCopyEngine, HFEngine
from pivotrl_cli.engines.vllm_server import open_server
from pivotrl_cli.learn.batch import UpdateStats
from pivotrl_cli.learn.distributed import barrier, from_rank0, full_tensor, rank, world_size
from pivotrl_cli.learn.grpo import GrpoBatch, GrpoOptions, grpo_update, with_old_logprobs
from pivotrl_cli.learn.lora import merged_weights
from pivotrl_cli.learn.optimizer import UnusableGradient
from pivotrl_cli.model.chat import ChatFormat
from pivotrl_cli.rows import StepMetrics, TrainRollout
from pivotrl_cli.stages.train.curriculum import Changes, Curriculum
from pivotrl_cli.stages.train.groups import GroupSampler, RolloutSource, StepGroups, TurnAdvantages
from pivotrl_cli.stages.train.method import Method, step_metrics
from pivotrl_cli.stages.train.run_folder import partial_folder
from pivotrl_cli.stages.train.state import load_base, load_unsharded
from pivotrl_cli.stages.train.stopwatch import Stopwatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Grpo(Method):
    """GRPO on one-turn rollouts at pivots, or on whole episodes."""

    def __init__(self, source: RolloutSource, *arguments: Any, tree: bool) -> None:
        super().__init__(*arguments, tree=tree)
        self.options = _options(self.config, tree=tree)
        self.curriculum = Curriculum(self.order.rows.tolist(), self.config)
        self.n_updates = 0
        self.engine = _open_engine(self.config, self.model, self.chat)
        self.sampler = GroupSampler(self.order, source, self.engine, self.config)
        self.reference: PreTrainedModel | None = None
        if self.config.kl_coef > 0:
            adapted = self.config.lora_rank is not None  # then the model with its adapters disabled
            self.reference = self.model if adapted else load_base(self.config)

    def step(self, step: int) -> tuple[StepMetrics, list[TrainRollout]]:
        """Sample, score and update; before that re-profile if it is time."""
        watch, version = Stopwatch(), self.n_updates
        with watch("push"):
            self._push()
        with watch("reprofile"):
            fresh, changes = self._reprofile(step)
        n_active = self.curriculum.n_active
        sampled = self.sampler.sample_step(step, self.curriculum.retired, watch)
        self.engine.sleep()
        self._record(sampled)
        self.curriculum.add_step(len(sampled.varied), len(sampled.groups))
        turns = fresh.turns + sampled.turns
        self.rollout_turns += len(turns)
        rate = self.learning_rate(step)
        with watch("train"):
            advantages = sampled.advantages(self.config.advantage)
            stats, skipped = self._update(sampled.batch(advantages), rate)
        metrics = step_metrics(
            step,
            rate,
            stats[-1] if stats else None,
            watch,
            sum(len(turn.prompt_ids) + len(turn.completion.token_ids) for turn in turns),
            n_active=n_active,
            rollout_turns=self.rollout_turns,
            policy_version=version,
            skipped=skipped,
            **asdict(changes),
            **group_metrics(sampled, advantages),
            **({"logprob_gap": stats[0].logprob_gap, "sampler_kl": stats[0].sampler_kl} if stats else {}),
        )
        return metrics, [*fresh.table_rows(step, None), *sampled.table_rows(step, advantages)]

    def _push(self) -> None:
        """Give the engine the current weights. Collective: every rank must call it."""
        weights = ((name, full_tensor(weight)) for name, weight in merged_weights(self.model))
        self.engine.push(weights, self.n_updates)
        barrier()

    def _reprofile(self, step: int) -> tuple[StepGroups, Changes]:
        """Retire and readmit rows by their latest rollouts, with fresh rollouts at some, if it is time."""
        fresh = StepGroups()
        if not self.curriculum.should_update(step):
            return fresh, Changes()
        self.sampler.sample_rows(fresh, f"{step}/reprofile", self.curriculum.least_recent(step), Stopwatch())
        self._record(fresh)
        return fresh, self.curriculum.update(step)

    def _record(self, sampled: StepGroups) -> None:
        for row, group in zip(sampled.rows, sampled.groups, strict=True):
            self.curriculum.add_rewards(row, group.rewards)

    def _update(self, batch: GrpoBatch, rate: float) -> tuple[list[UpdateStats], str | None]:
        """Statistics of the updates on a batch, and the reason if one was skipped."""
        stats: list[UpdateStats] = []
        if not batch.prompts:
            return stats, None
        if self.config.importance_cap is not None and self.config.updates_per_batch > 1:
            batch = with_old_logprobs(self.model, batch, self.options)
        try:
            for _ in range(self.config.updates_per_batch):
                stats.append(grpo_update(self.model, self.optimizer, batch, self.options, rate, self.reference))
                self.n_updates += 1
        except UnusableGradient as error:
            return stats, str(error)
        return stats, None

    def state_dict(self) -> dict[str, Any]:
        """With the version of the weights and the curriculum."""
        return super().state_dict() | {"updates": self.n_updates, "curriculum": self.curriculum.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume; the engine gets the weights of the checkpoint by the next push."""
        super().load_state_dict(state)
        self.n_updates = state["updates"]
        self.curriculum.load_state_dict(state["curriculum"])

    def close(self) -> None:
        """Release the engine."""
        self.engine.close()


_TOKENIZER = {"model", "chat_template", "response_template"}


def _open_engine(config: TrainConfig, model: PreTrainedModel, chat: ChatFormat) -> Engine:
    """The engine that samples rollouts: the trained model itself, a whole copy where it is sharded, or vLLM."""
    if config.engine == "vllm":
        shared = config.model_dump(include={"device", "dtype", "engine_args", *_TOKENIZER})
        return vllm.open_training_engine(EngineConfig(engine="vllm", **shared))
    if config.engine == "vllm-server":
        settings = EndpointSettings(
            base_url=config.endpoint or "",
            key_variable="VLLM_API_KEY",
            timeout=config.endpoint_timeout,
            concurrency=config.endpoint_concurrency,
        )
        folder = partial_folder(Path(config.output)) / "weights"
        run = from_rank0(lambda: secrets.token_hex(4))
        return open_server(settings, config, folder, run, pushes=rank() == 0)
    if world_size() == 1:
        return HFEngine(model, chat, config.sample_token_budget)
    return HFCopyEngine(load_unsharded(config), chat, config.sample_token_budget)


def _options(config: TrainConfig, *, tree: bool) -> GrpoOptions:
    n_turns = config.max_turns if config.method == "e2e" else 1
    return GrpoOptions(
        loss=config.loss,
        clip_low=config.clip_low,
        clip_high=config.clip_high,
        kl_coef=config.kl_coef,
        importance_cap=config.importance_cap,
        temperature=config.temperature,
        longest=n_turns * config.max_new_tokens,
        token_budget=config.token_budget,
        tree=tree,
    )


def group_metrics(sampled: StepGroups, advantages: list[TurnAdvantages]) -> dict[str, Any]:
    """The columns of the metrics table that come from the groups of one step."""
    rewards = [group.rewards for group in sampled.groups if group.rewards]
    flat = [r for group in rewards for r in group]
    constant = [group.rewards for group in sampled.groups if group.rewards and not group.trains]
    trained = [
        advantage
        for group, of_group in zip(sampled.varied, advantages, strict=True)
        for rollout, of_turns in zip(group.rollouts, of_group, strict=True)
        if rollout.reward is not None
        for advantage in of_turns
    ]
    lengths = [len(turn.completion.token_ids) for turn in sampled.turns]
    return {
        "reward_mean": float(np.mean(flat)) if flat else None,
        "reward_std": float(np.mean([np.std(group) for group in rewards])) if rewards else None,
        "advantage_std": float(np.std(trained)) if trained else None,
        "n_groups": len(sampled.varied),
        "n_all_right": sum(group[0] == 1.0 for group in constant),
        "n_all_wrong": sum(group[0] < 1.0 for group in constant),
        "n_unscored": sum(len(g.rollouts) for g in sampled.groups) - len(flat),
        "n_truncated": sum(turn.completion.finish_reason == "length" for turn in sampled.turns),
        "n_penalised": sum(group.n_penalised for group in sampled.groups),
        "n_unusable": sampled.n_unusable,
        "completion_mean": float(np.mean(lengths)) if lengths else None,
        "completion_min": min(lengths, default=None),
        "completion_max": max(lengths, default=None),
    }
