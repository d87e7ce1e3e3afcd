"""GRPO (arXiv 2402.03300) as PivotRL trains with it (arXiv 2603.21383, Eq. 7).

At each state s the old policy samples G actions a_1 ... a_G, and a verifier gives each a reward r_i. Then

    1. advantage    A_i   = (r_i - mean(r)) / (std(r) + eps)
    2. ratio        w_i,t = pi(a_i,t | s, a_i,<t) / pi_old(a_i,t | s, a_i,<t)
    3. surrogate    J_i,t = min(w_i,t A_i, clip(w_i,t, 1 - clip_low, 1 + clip_high) A_i)
    4. KL penalty   D_i,t = w_i,t (exp(d) - d - 1),   d = log pi_ref(a_i,t | ...) - log pi(a_i,t | ...)
    5. loss         L     = - sum_i,t c_i,t (J_i,t - kl_coef D_i,t)
    6. update       theta <- AdamW(theta, grad L), the norm of the gradient clipped

`advantages` is the first line, `grpo_loss` the next four and `grpo_update` the last. The pieces, and their variants in
other papers, are in `advantage` (leave-one-out, no division) and `loss` (what c is; GSPO, CISPO, DAPO, Dr. GRPO).

pi_old is the sampler's own probability, so there is no pass for old log-probabilities; `logprob_gap` watches the
difference to the trainer's. With several updates on one batch, the sampler's probabilities stay the old ones, and from
the second update on the clip matters. With an importance cap C, pi_old is the trainer's probability before the first
update, and c is multiplied by min(pi_old / pi_sampler, C): truncated importance sampling.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pivotrl_cli.learn.advantage import ADVANTAGES
from pivotrl_cli.learn.batch import Batch, Shares, UpdateStats, accumulate_gradients
from pivotrl_cli.learn.lora import adapters_disabled
from pivotrl_cli.learn.loss import LOSSES, importance_weights, k3, kl_loss
from pivotrl_cli.learn.optimizer import Optimizer
from pivotrl_cli.learn.pack import Slice
from pivotrl_cli.learn.policy import TokenScores, completion_logprobs


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoBatch(Batch):
    """Groups of scored rollouts, without those that must not train (unscored, cut by the token limit).

    Example, one prompt and two rollouts:

        GrpoBatch(
            prompts=[[5, 9, 2]],
            completions=[[[7, 1], [4, 4, 1]]],
            sampler_logprobs=[[[-0.1, -0.7], [-2.3, -0.9, -0.1]]],
            advantages=[[1.0, -1.0]],
        )
    """

    sampler_logprobs: list[list[list[float]]]
    """Log-probability of each completion token when it was sampled, in nats, at the sampling temperature."""
    advantages: list[list[float]]
    """One per completion [P][G]."""
    old_logprobs: list[list[list[float]]] | None = None
    """The trainer's log-probabilities before the first update on the batch, see `with_old_logprobs`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoOptions:
    """Settings of the loss, and of the memory that an update takes."""

    loss: str = "dapo"
    """One of `LOSSES`."""
    clip_low: float = 0.2
    clip_high: float = 0.2
    kl_coef: float = 0.0
    """Weight of KL(policy || reference); 0 makes no reference pass."""
    importance_cap: float | None = None
    """Cap of truncated importance sampling; null takes the sampler's probabilities for the old ones."""
    temperature: float = 1.0
    """Temperature that the completions were sampled at."""
    longest: int = 256
    """Maximum tokens of a rollout; the loss `dr_grpo` divides by it."""
    token_budget: int = 16384
    """Maximum positions per forward pass, padding included."""
    tree: bool = True
    """Whether prompts share what they can, see `policy`."""


def advantages(rewards_P_G: Tensor, kind: str = "group") -> Tensor:
    """Advantages [P, G] of a batch of rewards [P, G], NaN for what could not be scored; one of `ADVANTAGES`."""
    return ADVANTAGES[kind](rewards_P_G)


def grpo_update(
    model: PreTrainedModel,
    optimizer: Optimizer,
    batch: GrpoBatch,
    options: GrpoOptions,
    learning_rate: float,
    reference: PreTrainedModel | None = None,
) -> UpdateStats:
    """One optimizer step on the batch; call it again with the same batch for several.

    Raises UnusableGradient before it would write a NaN into the weights.
    """
    if options.kl_coef > 0 and reference is None:
        raise ValueError("kl_coef is above 0 but there is no reference model")
    batch = batch.with_token_weights(LOSSES[options.loss].weighting, options.longest)
    stats = accumulate_gradients(
        batch,
        lambda part: grpo_loss(model, part, options, batch.n_tokens, reference),
        optimizer,
        token_budget=options.token_budget,
        tree=options.tree,
    )
    return UpdateStats(grad_norm=optimizer.step(learning_rate), **stats)


def grpo_loss(
    model: PreTrainedModel, batch: GrpoBatch, options: GrpoOptions, n_tokens: int, reference: PreTrainedModel | None
) -> tuple[Tensor, Shares]:
    """The loss of a micro-batch, and its shares of the statistics of a step with `n_tokens` completion tokens."""
    rule = LOSSES[options.loss]
    scores = _scores(model, batch, options)
    logp, sampler_logp = scores.logprobs, batch.per_token(batch.sampler_logprobs, scores.logprobs)
    old_logp, weights = sampler_logp, batch.per_completion(batch.weights, logp)
    if options.importance_cap is not None:
        old_logp = batch.per_token(batch.old_logprobs, logp) if batch.old_logprobs else logp.detach()
        weights = weights * importance_weights(old_logp, sampler_logp, options.importance_cap)

    ratio = rule.ratio(logp, old_logp, batch.owner(logp))
    advantage = batch.per_completion(batch.advantages, logp)
    surrogate = rule.surrogate(ratio, advantage, logp, options.clip_low, options.clip_high)
    loss = -(weights * surrogate.values).sum()
    shares: Shares = {}
    if reference is not None and options.kl_coef > 0:
        reference_logp = _reference_logprobs(reference, batch, options).to(logp.device)
        loss = loss + options.kl_coef * kl_loss(logp, reference_logp, old_logp, weights)
        shares["kl"] = k3(logp.detach(), reference_logp).sum().item() / n_tokens

    return loss, shares | {
        "entropy": scores.entropies.sum().item() / n_tokens,
        "ratio_mean": ratio.detach().sum().item() / n_tokens,
        "ratio_max": ratio.max().item(),
        "clip_low": surrogate.clipped_low.sum().item() / n_tokens,
        "clip_high": surrogate.clipped_high.sum().item() / n_tokens,
        "logprob_gap": (logp.detach() - sampler_logp).abs().max().item(),
        "sampler_kl": k3(sampler_logp, logp.detach()).sum().item() / n_tokens,
        "n_positions": scores.n_positions,
    }


def _scores(model: PreTrainedModel, batch: GrpoBatch, options: GrpoOptions) -> TokenScores:
    return completion_logprobs(model, batch.prompts, batch.completions, options.temperature, tree=options.tree)


@torch.no_grad()
def _reference_logprobs(reference: PreTrainedModel, batch: GrpoBatch, options: GrpoOptions) -> Tensor:
    with adapters_disabled(reference):
        return _scores(reference, batch, options).logprobs


@torch.no_grad()
def with_old_logprobs(model: PreTrainedModel, batch: GrpoBatch, options: GrpoOptions) -> GrpoBatch:
    """The batch with the model's log-probabilities of now, for several updates under an importance cap."""
    old_logprobs = []
    for p, group in enumerate(batch.completions):
        logp = _scores(model, batch.part([Slice(p, 0, len(group))]), options).logprobs
        old_logprobs.append([part.tolist() for part in torch.split(logp, [len(tokens) for tokens in group])])
    return replace(batch, old_logprobs=old_logprobs)
