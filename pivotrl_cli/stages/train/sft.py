"""Imitation of the demonstrated actions, the method's baseline on the same rows."""

from __future__ import annotations

from pivotrl_cli.learn.batch import Batch, UpdateStats
from pivotrl_cli.learn.optimizer import UnusableGradient
from pivotrl_cli.learn.sft import sft_update
from pivotrl_cli.model.chat import UnrenderableError
from pivotrl_cli.rows import Candidate, StepMetrics, TrainRollout
from pivotrl_cli.stages.train.method import Learner, step_metrics
from pivotrl_cli.stages.train.stopwatch import Stopwatch

Demonstration = tuple[list[int], list[int]]
"""Tokens of a prompt and of the action that was demonstrated there."""


class Sft(Learner):
    """Imitate the demonstrated actions of the drawn rows."""

    def step(self, step: int) -> tuple[StepMetrics, list[TrainRollout]]:
        """Update on one batch of demonstrations."""
        watch = Stopwatch()
        with watch("train"):
            rows = self.deck.draw(self.config.prompts_per_step)
            drawn = [self._tokens(self.deck.at(row)) for row in rows]
            usable = [pair for pair in drawn if pair is not None]
            rate = self.rate(step)
            stats, unusable = self._update(usable, rate)
        metrics = step_metrics(
            step,
            rate,
            stats,
            watch,
            sum(len(p) + len(c) for p, c in usable),
            n_groups=len(usable),
            n_unusable=len(drawn) - len(usable),
            n_active=len(self.deck.rows),
            skipped=unusable,
            policy_version=step - 1,
        )
        return metrics, []

    def _update(self, pairs: list[Demonstration], rate: float) -> tuple[UpdateStats | None, str | None]:
        """The update on these, and why it was not made."""
        if not pairs:
            return None, None
        batch = Batch(prompts=[p for p, _ in pairs], completions=[[c] for _, c in pairs])
        budget = self.config.token_budget
        try:
            return sft_update(self.model, self.optimizer, batch, rate, token_budget=budget, tree=self.tree), None
        except UnusableGradient as error:
            return None, str(error)

    def _tokens(self, candidate: Candidate) -> Demonstration | None:
        try:
            prompt = self.chat.prompt_ids(candidate.state, candidate.tools)
            completion = self.chat.completion_ids(candidate.state, candidate.tools, candidate.expected_action)
        except UnrenderableError:
            return None
        context_length = int(self.model.config.get_text_config().max_position_embeddings)
        return (prompt, completion) if len(prompt) + len(completion) <= context_length else None
