"""One optimiser update: micro-batches, losses, gradient, step.

`grpo_update` serves PivotRL and `sft_update` its baseline; both count completion tokens over the whole batch first, so
that the sum over micro-batches is the gradient of the one large batch. To train several times on a batch, call
`grpo_update` again with the same batch: its sampler log-probabilities stay the old policy of the ratio, and from the
second update on the clip comes to bear.

Left out: a separate pass for old log-probabilities (the sampler's own are used; `logprob_gap` watches them), and
distributed set-ups.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pivotrl_cli.learn.loss import k3, kl_loss, policy_loss, sft_loss
from pivotrl_cli.learn.optimiser import Optimiser
from pivotrl_cli.learn.pack import Slice, pack_plain, pack_trees
from pivotrl_cli.learn.policy import completion_logprobs, plain_reason


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoBatch:
    """Groups of scored rollouts; whatever must not train (unscored, cut by the token limit) is left out of them.

    Example, one prompt and two rollouts:

        GrpoBatch(
            prompts=[[5, 9, 2]],
            completions=[[[7, 1], [4, 4, 1]]],
            sampler_logprobs=[[[-0.1, -0.7], [-2.3, -0.9, -0.1]]],
            advantages=[[1.0, -1.0]],
        )
    """

    prompts: list[list[int]]
    """Token ids [P][...] of the rendered states."""
    completions: list[list[list[int]]]
    """Token ids [P][G][...] as sampled, end token included."""
    sampler_logprobs: list[list[list[float]]]
    """Log-probability of each of those tokens when it was sampled, in nats, at the sampling temperature."""
    advantages: list[list[float]]
    """One per rollout [P][G]."""

    def part(self, slices: list[Slice]) -> GrpoBatch:
        """The sub-batch that a micro-batch names."""
        return GrpoBatch(
            prompts=[self.prompts[s.prompt] for s in slices],
            completions=[self.completions[s.prompt][s.start : s.stop] for s in slices],
            sampler_logprobs=[self.sampler_logprobs[s.prompt][s.start : s.stop] for s in slices],
            advantages=[self.advantages[s.prompt][s.start : s.stop] for s in slices],
        )

    def flat(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Sampler log-probabilities [T] and advantages [T], in the order of `completion_logprobs`."""
        sampler, advantages = [], []
        groups = zip(self.completions, self.sampler_logprobs, self.advantages, strict=True)
        for completions, logprobs, group_advantages in groups:
            for tokens, old, advantage in zip(completions, logprobs, group_advantages, strict=True):
                if len(old) != len(tokens):
                    raise ValueError(f"a completion of {len(tokens)} tokens has {len(old)} sampler log-probabilities")
                sampler += old
                advantages += [advantage] * len(tokens)
        return like.new_tensor(sampler), like.new_tensor(advantages)


@dataclass(frozen=True, slots=True, kw_only=True)
class SftBatch:
    """Demonstrations.

    Example: `SftBatch(prompts=[[5, 9, 2]], completions=[[7, 1]])`
    """

    prompts: list[list[int]]
    """Token ids [P][...] of the rendered states."""
    completions: list[list[int]]
    """Token ids [P][...] of the demonstrated actions, end token included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoOptions:
    """What shapes the loss and the memory of an update."""

    clip_low: float = 0.2
    """The ratio is clipped below 1 - clip_low."""
    clip_high: float = 0.2
    """The ratio is clipped above 1 + clip_high."""
    kl_coef: float = 0.0
    """Weight of KL(policy || reference); 0 makes no reference pass."""
    temperature: float = 1.0
    """Temperature that the completions were sampled at."""
    token_budget: int = 16384
    """Most positions in one forward pass, padding included."""
    tree: bool | None = None
    """Whether prompts share what they can, see `policy`; null where the model decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateStats:
    """What an update saw *before* it moved the weights, under the names of the metrics table; null if not measured."""

    loss: float
    """Loss that was differentiated."""
    entropy: float
    """Mean token entropy, in nats."""
    grad_norm: float
    """Gradient norm before clipping."""
    n_completion_tokens: int
    """Tokens that carried loss."""
    kl: float | None = None
    """Mean k3 estimate of KL(policy || reference) per token, in nats."""
    ratio_mean: float | None = None
    """Mean probability ratio between trainer and sampler."""
    clip_low: float | None = None
    """Share of tokens clipped below."""
    clip_high: float | None = None
    """Share of tokens clipped above."""
    logprob_gap: float | None = None
    """Largest |trainer - sampler| log-probability; means a mismatch only in the first update on a batch."""


def grpo_update(
    model: PreTrainedModel,
    optimiser: Optimiser,
    batch: GrpoBatch,
    options: GrpoOptions,
    learning_rate: float,
    reference: PreTrainedModel | None = None,
) -> UpdateStats:
    """One update with the clipped policy loss, plus the KL penalty where `kl_coef` > 0.

    Raises NonFiniteGradient before it would write a NaN into the weights.
    """
    if options.kl_coef > 0 and reference is None:
        raise ValueError("kl_coef is above 0 but there is no reference model")
    n_tokens = _n_tokens(batch.completions)
    totals: dict[str, float] = {}
    options = replace(options, tree=_takes_tree(model, options.tree))
    for slices in _packed(batch.prompts, batch.completions, options.token_budget, bool(options.tree)):
        part = batch.part(slices)
        stats = _grpo_backward(model, reference if options.kl_coef > 0 else None, part, options, n_tokens)
        gap = max(totals.get("logprob_gap", 0.0), stats.pop("logprob_gap"))
        totals = _added(totals, stats) | {"logprob_gap": gap}
        optimiser.collect()
    return UpdateStats(grad_norm=optimiser.step(learning_rate), n_completion_tokens=n_tokens, **totals)


def sft_update(
    model: PreTrainedModel,
    optimiser: Optimiser,
    batch: SftBatch,
    learning_rate: float,
    *,
    token_budget: int = 16384,
    tree: bool | None = None,
) -> UpdateStats:
    """One update towards the demonstrated completions, by mean negative log-likelihood per token."""
    n_tokens = _n_tokens([batch.completions])
    tree = _takes_tree(model, tree)
    totals: dict[str, float] = {}
    for slices in _packed(batch.prompts, [[completion] for completion in batch.completions], token_budget, tree):
        prompts = [batch.prompts[s.prompt] for s in slices]
        completions = [[batch.completions[s.prompt]] for s in slices]
        scores = completion_logprobs(model, prompts, completions, tree=tree)
        loss = sft_loss(scores.logprobs, normaliser=n_tokens)
        torch.autograd.backward(loss)
        optimiser.collect()
        totals = _added(totals, {"loss": loss.item(), "entropy": scores.entropies.sum().item() / n_tokens})
    return UpdateStats(grad_norm=optimiser.step(learning_rate), n_completion_tokens=n_tokens, **totals)


def _n_tokens(completions: list[list[list[int]]]) -> int:
    """Completion tokens of the whole step."""
    n_tokens = sum(len(completion) for group in completions for completion in group)
    if n_tokens == 0:
        raise ValueError("the batch has no completion tokens")
    return n_tokens


def _takes_tree(model: PreTrainedModel, tree: bool | None) -> bool:
    return plain_reason(model) is None if tree is None else tree


def _packed(
    prompts: list[list[int]], completions: list[list[list[int]]], token_budget: int, tree: bool
) -> list[list[Slice]]:
    """Micro-batches of rollouts under the budget, longest first."""
    lengths = [[len(completion) for completion in group] for group in completions]
    if tree:
        return pack_trees(prompts, lengths, token_budget)
    return pack_plain([len(prompt) for prompt in prompts], lengths, token_budget)


def _grpo_backward(
    model: PreTrainedModel, reference: PreTrainedModel | None, part: GrpoBatch, options: GrpoOptions, n_tokens: int
) -> dict[str, float]:
    """Add one micro-batch's gradient; returns its shares of the step's statistics."""
    scores = completion_logprobs(model, part.prompts, part.completions, options.temperature, tree=options.tree)
    sampler, advantages = part.flat(scores.logprobs)
    policy = policy_loss(
        scores.logprobs,
        sampler,
        advantages,
        clip_low=options.clip_low,
        clip_high=options.clip_high,
        normaliser=n_tokens,
    )
    loss, stats = policy.loss, {}
    if reference is not None:
        frozen = _frozen_logprobs(reference, part, options).to(scores.logprobs.device)
        loss = loss + options.kl_coef * kl_loss(scores.logprobs, frozen, sampler, normaliser=n_tokens)
        stats["kl"] = k3(scores.logprobs.detach(), frozen).sum().item() / n_tokens
    torch.autograd.backward(loss)
    return stats | {
        "loss": loss.item(),
        "entropy": scores.entropies.sum().item() / n_tokens,
        "ratio_mean": policy.ratio_mean.item(),
        "clip_low": policy.clip_low.item(),
        "clip_high": policy.clip_high.item(),
        "logprob_gap": (scores.logprobs.detach() - sampler).abs().max().item(),
    }


@torch.no_grad()
def _frozen_logprobs(reference: PreTrainedModel, part: GrpoBatch, options: GrpoOptions) -> Tensor:
    scores = completion_logprobs(reference, part.prompts, part.completions, options.temperature, tree=options.tree)
    return scores.logprobs


def _added(totals: dict[str, float], shares: dict[str, float]) -> dict[str, float]:
    """Shares of a micro-batch on top of the totals so far."""
    return totals | {name: totals.get(name, 0.0) + share for name, share in shares.items()}
