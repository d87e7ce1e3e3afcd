"""One training step, by GRPO on pivots or by imitation of the demonstrated actions."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from pivotrl_cli.chat import ChatFormat, UnrenderableError
from pivotrl_cli.checkpoint import resolve
from pivotrl_cli.configs import EngineConfig, TrainConfig
from pivotrl_cli.endpoint import EndpointSettings
from pivotrl_cli.engines import vllm
from pivotrl_cli.engines.hf import HFEngine
from pivotrl_cli.engines.vllm_server import VLLMServer, open_server
from pivotrl_cli.learn.distributed import gathered, of_first, refresh, whole
from pivotrl_cli.learn.lora import merged_weights
from pivotrl_cli.learn.optimiser import Optimiser, UnusableGradient, learning_rate
from pivotrl_cli.learn.step import GrpoOptions, SftBatch, UpdateStats, grpo_update, sft_update, with_old_logprobs
from pivotrl_cli.rows import Candidate, StepMetrics, TrainRollout
from pivotrl_cli.stages.launch import load_own, load_whole, spread
from pivotrl_cli.stages.pivot_groups import Deck, StepGroups, sample_step
from pivotrl_cli.verifiers import Verifier

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    Sampler = HFEngine | vllm.VLLMEngine | VLLMServer


class Learner:
    """What both methods have, and what a checkpoint keeps of them beside the weights."""

    def __init__(
        self,
        config: TrainConfig,
        model: PreTrainedModel,
        chat: ChatFormat,
        optimiser: Optimiser,
        deck: Deck,
        verifiers: dict[str, Verifier],
        *,
        tree: bool,
    ) -> None:
        self.config, self.model, self.chat, self.tree = config, model, chat, tree
        self.optimiser, self.deck, self.verifiers = optimiser, deck, verifiers
        self.rollout_turns = 0
        self.set_up()

    def set_up(self) -> None:
        """What the method needs once."""

    def step(self, step: int) -> tuple[StepMetrics, list[TrainRollout]]:
        """Take step `step`, counted from 1; returns what happened."""
        raise NotImplementedError

    def cursor(self) -> dict[str, int]:
        """Where in its data the learner stands."""
        return {"draws": self.deck.n_drawn, "rollout_turns": self.rollout_turns}

    def go_to(self, cursor: dict[str, int]) -> None:
        """Stand where `cursor` says."""
        self.deck.skip(cursor["draws"])
        self.rollout_turns = cursor["rollout_turns"]

    def close(self) -> None:
        """Give back what the method holds."""

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        return learning_rate(
            step,
            peak=self.config.learning_rate,
            schedule=self.config.schedule,
            warmup_steps=self.config.warmup_steps,
            total_steps=self.config.steps,
        )


class Grpo(Learner):
    """Sample groups at pivots, update on those that vary."""

    def set_up(self) -> None:
        """The engine that samples, and the frozen policy where there is a KL penalty."""
        config = self.config
        self.n_updates = 0
        self.sampled = load_whole(self.model, config) if config.sampler == "hf" else self.model
        self.engine = self._sampler()
        self.reference: PreTrainedModel | None = None
        if config.kl_coef > 0:
            self.reference = self.model  # with its adapters off
            if config.lora_rank is None:
                self.reference = spread(load_own(resolve(config.model), config), config)
        self.options = GrpoOptions(
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            kl_coef=config.kl_coef,
            temperature=config.temperature,
            token_budget=config.token_budget,
            loss=config.loss,
            longest=config.max_new_tokens,
            importance_cap=config.importance_cap,
            tree=self.tree,
        )

    def step(self, step: int) -> tuple[StepMetrics, list[TrainRollout]]:
        """Sample, score and update."""
        started = time.monotonic()
        self._push()
        sampled = sample_step(step, self.deck, self.engine, self.verifiers, self.config)
        if isinstance(self.engine, vllm.VLLMEngine):
            self.engine.sleep()
        self.rollout_turns += sum(len(g.rollouts) for g in sampled.groups)
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
        return vllm.open_sampler(
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


class Sft(Learner):
    """Imitate the demonstrated actions of the drawn rows."""

    def set_up(self) -> None:
        """What a prompt and its completion must fit into."""
        self.context_length = int(self.model.config.get_text_config().max_position_embeddings)

    def step(self, step: int) -> tuple[StepMetrics, list[TrainRollout]]:
        """Update on one batch of demonstrations."""
        started = time.monotonic()
        drawn = [self._tokens(self.deck.draw()) for _ in range(self.config.prompts_per_step)]
        usable = [pair for pair in drawn if pair is not None]
        rate, stats, unusable = self.rate(step), None, None
        if usable:
            batch = SftBatch(prompts=[p for p, _ in usable], completions=[c for _, c in usable])
            try:
                budget = self.config.token_budget
                stats = sft_update(self.model, self.optimiser, batch, rate, token_budget=budget, tree=self.tree)
            except UnusableGradient as error:
                unusable = str(error)
        metrics = step_metrics(
            step,
            rate,
            stats,
            n_groups=len(usable),
            n_unusable=len(drawn) - len(usable),
            skipped=unusable,
            seconds_train=time.monotonic() - started,
        )
        return metrics, []

    def _tokens(self, candidate: Candidate) -> tuple[list[int], list[int]] | None:
        try:
            prompt = self.chat.prompt_ids(candidate.state, candidate.tools)
            completion = self.chat.completion_ids(candidate.state, candidate.tools, candidate.expected_action)
        except UnrenderableError:
            return None
        return (prompt, completion) if len(prompt) + len(completion) <= self.context_length else None


def reward_metrics(sampled: StepGroups) -> dict[str, Any]:
    """The columns of the metrics table that the rewards of one step decide."""
    rewards = [group for group in sampled.rewards() if group]
    flat = [r for group in rewards for r in group]
    constant = [group for group in rewards if len(set(group)) == 1]
    return {
        "reward_mean": float(np.mean(flat)) if flat else None,
        "reward_std": float(np.mean([np.std(group) for group in rewards])) if rewards else None,
        "n_all_right": sum(group[0] == 1.0 for group in constant),
        "n_all_wrong": sum(group[0] < 1.0 for group in constant),
        "n_unscored": sum(len(g.rollouts) for g in sampled.groups) - len(flat),
    }


def step_metrics(step: int, rate: float, stats: UpdateStats | None, **known: Any) -> StepMetrics:
    """A row of the metrics table: what the update measured, what else is `known`, null or 0 for the rest."""
    fields = StepMetrics.model_fields.items()
    empty = {name: None if type(None) in get_args(field.annotation) else 0 for name, field in fields}
    measured = asdict(stats) if stats is not None else {}
    return StepMetrics(**{**empty, **measured, "step": step, "learning_rate": rate, **known})
