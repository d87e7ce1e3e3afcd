"""GRPO: sample groups from the current weights, update on those whose rewards vary."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pivotrl_cli.configs import EngineConfig, TrainConfig
from pivotrl_cli.endpoint import EndpointSettings
from pivotrl_cli.engines import vllm
from pivotrl_cli.engines.hf import HFEngine
from pivotrl_cli.engines.vllm_server import VLLMServer, open_server
from pivotrl_cli.learn.batch import UpdateStats
from pivotrl_cli.learn.distributed import from_rank0, full_tensor, gather_to_rank0
from pivotrl_cli.learn.grpo import GrpoOptions, grpo_update, with_old_logprobs
from pivotrl_cli.learn.lora import merged_weights
from pivotrl_cli.learn.optimizer import UnusableGradient
from pivotrl_cli.model.folder import resolve
from pivotrl_cli.rows import StepMetrics, TrainRollout
from pivotrl_cli.stages.train.curriculum import Changes, Roster
from pivotrl_cli.stages.train.groups import Sampler, Source, StepGroups
from pivotrl_cli.stages.train.launch import load_own, load_whole, spread
from pivotrl_cli.stages.train.method import Learner, step_metrics
from pivotrl_cli.stages.train.stopwatch import Stopwatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    PolicyEngine = HFEngine | vllm.VLLMEngine | VLLMServer


class Grpo(Learner):
    """Sample groups from a source, one turn at pivots or whole episodes, and update on those that vary."""

    def __init__(self, source: Source, *arguments: Any, tree: bool) -> None:
        super().__init__(*arguments, tree=tree)
        self.options = _options(self.config, tree=tree)
        self.roster = Roster(self.deck.rows.tolist(), self.config)
        self.n_updates = 0
        self.sampled = load_whole(self.model, self.config) if self.config.sampler == "hf" else self.model
        self.engine = self._open_engine()
        self.sampler = Sampler(self.deck, source, self.engine, self.config)
        self.reference: PreTrainedModel | None = None
        if self.config.kl_coef > 0:
            self.reference = self.model  # with its adapters off
            if self.config.lora_rank is None:
                self.reference = spread(load_own(resolve(self.config.model), self.config), self.config)

    def step(self, step: int) -> tuple[StepMetrics, list[TrainRollout]]:
        """Sample, score and update; before that re-profile, where it is time."""
        watch, version = Stopwatch(), self.n_updates
        with watch("push"):
            self._push()
        with watch("reprofile"):
            fresh, changes = self._reprofile(step)
        n_active = self.roster.n_active
        sampled = self.sampler.step(step, self.roster.retired, watch)
        if isinstance(self.engine, vllm.VLLMEngine):
            self.engine.sleep()
        self._note(sampled)
        self.roster.note_share(len(sampled.trained), len(sampled.groups))
        turns = fresh.turns + sampled.turns
        self.rollout_turns += len(turns)
        rate = self.rate(step)
        with watch("train"):
            stats, unusable = self._update(sampled, rate)
        metrics = step_metrics(
            step,
            rate,
            stats[-1] if stats else None,
            watch,
            sum(len(turn.prompt_ids) + len(turn.completion.token_ids) for turn in turns),
            n_groups=len(sampled.trained),
            n_unusable=sampled.n_unusable,
            n_active=n_active,
            rollout_turns=self.rollout_turns,
            policy_version=version,
            skipped=unusable,
            **asdict(changes),
            **group_metrics(sampled),
            **({"logprob_gap": stats[0].logprob_gap, "sampler_kl": stats[0].sampler_kl} if stats else {}),
        )
        rows = [row for group in fresh.groups for row in group.rows(step, fresh=True)]
        return metrics, rows + [row for group in sampled.groups for row in group.rows(step)]

    def _reprofile(self, step: int) -> tuple[StepGroups, Changes]:
        """Judge the rows by what is known of them and by fresh rollouts at some, where it is time for that."""
        fresh = StepGroups()
        if not self.roster.due(step):
            return fresh, Changes()
        self.sampler.add(fresh, f"{step}/reprofile", self.roster.stale(step), Stopwatch())
        self._note(fresh)
        return fresh, self.roster.settle(step)

    def _note(self, sampled: StepGroups) -> None:
        for row, group in zip(sampled.rows, sampled.groups, strict=True):
            self.roster.note(row, group.rewards)

    def _open_engine(self) -> PolicyEngine:
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
            key_variable="VLLM_API_KEY",
            timeout=config.endpoint_timeout,
            concurrency=config.endpoint_concurrency,
        )
        return open_server(settings, config.model, output.with_name(f"{output.name}.partial") / "weights")

    def _push(self) -> None:
        """Give the sampler the weights of now, where it has weights of its own and they are of another step."""
        if isinstance(self.engine, HFEngine):
            if self.sampled is not self.model:
                into = dict(self.sampled.named_parameters())
                for name, weight in merged_weights(self.model):
                    into[name].data.copy_(full_tensor(weight))
        elif self.engine.weight_version == self.n_updates:
            return
        elif isinstance(self.engine, VLLMServer):
            weights, server = gather_to_rank0(merged_weights(self.model)), self.engine
            server.pushed(from_rank0(lambda: server.push(weights, self.n_updates)), self.n_updates)
        else:
            self.engine.push(((name, full_tensor(w)) for name, w in merged_weights(self.model)), self.n_updates)

    def go_to(self, cursor: dict[str, Any]) -> None:
        """The weights of a checkpoint are not those that the sampler was opened with."""
        super().go_to(cursor)
        self.n_updates = cursor["updates"]
        self.roster.restore(cursor["roster"])

    def cursor(self) -> dict[str, Any]:
        """With the number of the weights, and what is known of the rows."""
        return super().cursor() | {"updates": self.n_updates, "roster": self.roster.state()}

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
                stats.append(grpo_update(self.model, self.optimizer, batch, self.options, rate, self.reference))
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


def group_metrics(sampled: StepGroups) -> dict[str, Any]:
    """The columns of the metrics table that the groups of one step decide."""
    rewards = [group.rewards for group in sampled.groups if group.rewards]
    flat = [r for group in rewards for r in group]
    constant = [group.rewards for group in sampled.groups if group.rewards and group.advantages is None]
    advantages = [a for group in sampled.trained for _, _, a in group.scored_turns()]
    lengths = [len(turn.completion.token_ids) for turn in sampled.turns]
    return {
        "reward_mean": float(np.mean(flat)) if flat else None,
        "reward_std": float(np.mean([np.std(group) for group in rewards])) if rewards else None,
        "advantage_std": float(np.std(advantages)) if advantages else None,
        "n_all_right": sum(group[0] == 1.0 for group in constant),
        "n_all_wrong": sum(group[0] < 1.0 for group in constant),
        "n_unscored": sum(len(g.rollouts) for g in sampled.groups) - len(flat),
        "n_truncated": sum(turn.completion.finish_reason == "length" for turn in sampled.turns),
        "n_penalised": sum(group.n_penalised for group in sampled.groups),
        "completion_mean": float(np.mean(lengths)) if lengths else None,
        "completion_min": min(lengths, default=None),
        "completion_max": max(lengths, default=None),
    }
