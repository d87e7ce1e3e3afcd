"""SFT: imitation of demonstrated actions, the baseline of PivotRL.

L = -1/T sum_t log pi(a_t | s, a_<t)      over all T tokens of the batch's demonstrations
"""

from __future__ import annotations

from torch import Tensor
from transformers import PreTrainedModel

from pivotrl_cli.learn.batch import Batch, Shares, UpdateStats, accumulate_gradients
from pivotrl_cli.learn.loss import sft_loss
from pivotrl_cli.learn.optimizer import Optimizer
from pivotrl_cli.learn.policy import completion_logprobs


def sft_update(
    model: PreTrainedModel,
    optimizer: Optimizer,
    batch: Batch,
    learning_rate: float,
    *,
    token_budget: int = 16384,
    tree: bool = True,
) -> UpdateStats:
    """One optimizer step towards the demonstrations; raises UnusableGradient as `grpo_update` does."""

    def loss_of(part: Batch) -> tuple[Tensor, Shares]:
        scores = completion_logprobs(model, part.prompts, part.completions, tree=tree)
        loss = sft_loss(scores.logprobs, part.per_completion(part.weights, scores.logprobs))
        entropy = scores.entropies.sum().item() / batch.n_tokens
        return loss, {"entropy": entropy, "n_positions": scores.n_positions}

    stats = accumulate_gradients(
        batch.with_token_weights("token"), loss_of, optimizer, token_budget=token_budget, tree=tree
    )
    return UpdateStats(grad_norm=optimizer.step(learning_rate), **stats)
