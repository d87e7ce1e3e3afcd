"""SFT steps: imitation of the demonstrated actions, the baseline on the same rows."""

from __future__ import annotations

from pivotrl_cli.learn.batch import Batch, UpdateStats
from pivotrl_cli.learn.optimizer import UnusableGradient
from pivotrl_cli.learn.sft import sft_update
from pivotrl_cli.model.chat import UnrenderableError
from pivotrl_cli.rows import Candidate, StepMetrics, TrainRollout
from pivotrl_cli.stages.train.method import Method, step_metrics
from pivotrl_cli.stages.train.stopwatch import Stopwatch


class Sft(Method):
    """Imitate the demonstrated actions of the drawn rows."""

    def step(self, step: int) -> tuple[StepMetrics, list[TrainRollout]]:
        """Update on one batch of demonstrations."""
        watch = Stopwatch()
        with watch("train"):
            rows = self.order.draw(self.config.prompts_per_step)
            drawn = [self._tokens(self.order.at(row)) for row in rows]
            usable = [pair for pair in drawn if pair is not None]
            batch = Batch(prompts=[prompt for prompt, _ in usable], completions=[[action] for _, action in usable])
            rate = self.learning_rate(step)
            stats, skipped = self._update(batch, rate)
        metrics = step_metrics(
            step,
            rate,
            stats,
            watch,
            batch.n_tokens + sum(map(len, batch.prompts)),
            n_groups=len(usable),
            n_unusable=len(drawn) - len(usable),
            n_active=len(self.order.rows),
            skipped=skipped,
            policy_version=step - 1,
        )
        return metrics, []

    def _update(self, batch: Batch, rate: float) -> tuple[UpdateStats | None, str | None]:
        """Statistics of the update, and the reason if it was skipped."""
        if not batch.prompts:
            return None, None
        budget = self.config.token_budget
        try:
            return sft_update(self.model, self.optimizer, batch, rate, token_budget=budget, tree=self.tree), None
        except UnusableGradient as error:
            return None, str(error)

    def _tokens(self, candidate: Candidate) -> tuple[list[int], list[int]] | None:
        """Tokens of the prompt and of the demonstrated action; null where they do not fit or cannot be rendered."""
        try:
            prompt = self.chat.prompt_ids(candidate.state, candidate.tools)
            completion = self.chat.completion_ids(candidate.state, candidate.tools, candidate.expected_action)
        except UnrenderableError:
            return None
        context_length = int(self.model.config.get_text_config().max_position_embeddings)
        return (prompt, completion) if len(prompt) + len(completion) <= context_length else None
