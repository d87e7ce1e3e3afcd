"""GRPO: sample groups from the current weights, update on those whose rewards vary."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pivotrl_cli.checkpoint import resolve
from pivotrl_cli.configs import EngineConfig, TrainConfig
from pivotrl_cli.endpoint import EndpointSettings
from pivotrl_cli.engines.hf import HFEngine
from pivotrl_cli.engines.vllm_server import VLLMServer, open_server
from pivotrl_cli.learn.distributed import gathered, of_first, refresh, whole
from pivotrl_cli.learn.lora import merged_weights
from pivotrl_cli.learn.optimiser import UnusableGradient
from pivotrl_cli.learn.step import GrpoOptions, UpdateStats, grpo_update, with_old_logprobs
from pivotrl_cli.rows import StepMetrics, TrainRollout
from pivotrl_cli.stages.groups import Source, StepGroups, sample_step
from pivotrl_cli.stages.launch import load_own, load_whole, spread
from pivotrl_cli.stages.learners import Learner, step_metrics

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from pivotrl_cli.engines.vllm import VLLMEngine

    Sampler = HFEngine | VLLMEngine | VLLMServer


class Grpo(Learner):
    """Sample groups from a source, one turn at pivots or whole episodes, and update on those that vary."""

    def __init__(self, source: Source, *arguments: Any, tree: bool) -> None:
        super().__init__(*arguments, tree=tree)
        self.source, self.options = source, _options(self.config, tree=tree)
        self.n_updates = 0
        self.sampled = load_whole(self.model, self.config) if self.config.sampler == "hf" else self.model
        self.engine = self._sampler()
        self.reference: PreTrainedModel | None = None
        if self.config.kl_coef > 0:
            self.reference = self.model  # with its adapters off
            if self.config.lora_rank is None:
                self.reference = spread(load_own(resolve(self.config.model), self.config), self.config)

    def step(self, step: int) -> tuple[StepMetrics, list[TrainRollout]]:
        """Sample, score and update."""
        started = time.monotonic()
        self._push()
        sampled = sample_step(step, self.deck, self.source, self.engine, self.config)
        self.rollout_turns += sampled.n_turns
        between = time.monotonic()
        rate = self.rate(step)
        stats, unusable = self._update(sampled, rate)
        metrics = step_metrics(
            step,
            rate,
            stats[-1] if stats else None,
            n_groups=len(sampled.trained),
            n_unusable=sampled.n_unusable,
            rollout_turns=self.rollout_turns,
            skipped=unusable,
            seconds_sample=between - started,
            seconds_train=time.monotonic() - between,
            **reward_metrics(sampled),
            **({"logprob_gap": stats[0].logprob_gap} if stats else {}),
        )
        return metrics, [row for group in sampled.groups for row in group.rows(step)]

    def _sampler(self) -> Sampler:
        config = self.config
        if config.sampler == "hf":
            return HFEngine(self.sampled, self.chat, config.sample_token_budget)
        if config.sampler == "vllm-server":
            return self._server()
        from pivotrl_cli.engines import vllm

        return vllm.open_engine(
            EngineConfig.model_validate(
                config.model_dump(include={"model", "device", "dtype", "engine_args"}) | {"engine": "vllm"}
            )
        )

    def _server(self) -> VLLMServer:
        config, output = self.config, Path(self.config.output)
        settings = EndpointSettings(
            base_url=config.endpoint or "",
            timeout=config.endpoint_timeout,
            concurrency=config.endpoint_concurrency,
        )
        return open_server(settings, config.model, output.with_name(f"{output.name}.partial") / "weights")

    def _push(self) -> None:
        """Give the sampler the weights of now, where it has weights of its own and they are of another step."""
        if isinstance(self.engine, HFEngine):
            if self.sampled is not self.model:
                refresh(self.sampled, merged_weights(self.model))
        elif self.engine.weight_version == self.n_updates:
            return
        elif isinstance(self.engine, VLLMServer):
            weights, server = gathered(merged_weights(self.model)), self.engine
            server.pushed(of_first(lambda: server.push(weights, self.n_updates)), self.n_updates)
        else:
            self.engine.push(((name, whole(w)) for name, w in merged_weights(self.model)), self.n_updates)

    def go_to(self, cursor: dict[str, int]) -> None:
        """The weights of a checkpoint are not those that the sampler was opened with."""
        super().go_to(cursor)
        self.n_updates = cursor["updates"]

    def cursor(self) -> dict[str, int]:
        """With the number of the weights."""
        return super().cursor() | {"updates": self.n_updates}

    def close(self) -> None:
        """Give back the sampler."""
        self.engine.close()

    def _update(self, sampled: StepGroups, rate: float) -> tuple[list[UpdateStats], str | None]:
        """The updates on what was sampled, and why one was not made."""
        if not sampled.trained:
            return [], None
        batch, stats = sampled.batch(), []
        if self.config.importance_cap is not None and self.config.updates_per_batch > 1:
            batch = with_old_logprobs(self.model, batch, self.options)
        try:
            for _ in range(self.config.updates_per_batch):
                stats.append(grpo_update(self.model, self.optimiser, batch, self.options, rate, self.reference))
                self.n_updates += 1
        except UnusableGradient as error:
            return stats, str(error)
        return stats, None


def _options(config: TrainConfig, *, tree: bool) -> GrpoOptions:
    n_turns = config.max_turns if config.method == "e2e" else 1
    return GrpoOptions(
        clip_low=config.clip_low,
        clip_high=config.clip_high,
        kl_coef=config.kl_coef,
        temperature=config.temperature,
        token_budget=config.token_budget,
        loss=config.loss,
        longest=n_turns * config.max_new_tokens,
        importance_cap=config.importance_cap,
        tree=tree,
    )


def reward_metrics(sampled: StepGroups) -> dict[str, Any]:
    """The columns of the metrics table that the rewards of one step decide."""
    rewards = [group.rewards for group in sampled.groups if group.rewards]
    flat = [r for group in rewards for r in group]
    constant = [group for group in rewards if len(set(group)) == 1]
    return {
        "reward_mean": float(np.mean(flat)) if flat else None,
        "reward_std": float(np.mean([np.std(group) for group in rewards])) if rewards else None,
        "n_all_right": sum(group[0] == 1.0 for group in constant),
        "n_all_wrong": sum(group[0] < 1.0 for group in constant),
        "n_unscored": sum(len(g.rollouts) for g in sampled.groups) - len(flat),
    }
