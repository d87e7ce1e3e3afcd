"""Imitation of the demonstrated actions, the method's baseline on the same rows."""

from __future__ import annotations

import time

from pivotrl_cli.chat import UnrenderableError
from pivotrl_cli.learn.optimiser import UnusableGradient
from pivotrl_cli.learn.step import SftBatch, sft_update
from pivotrl_cli.rows import Candidate, StepMetrics, TrainRollout
from pivotrl_cli.stages.learners import Learner, step_metrics


class Sft(Learner):
    """Imitate the demonstrated actions of the drawn rows."""

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
        context_length = int(self.model.config.get_text_config().max_position_embeddings)
        return (prompt, completion) if len(prompt) + len(completion) <= context_length else None
