"""Losses over flat completion tokens: clipped policy ratio, KL to a reference, imitation.

Every function takes one entry per completion token, in nats, and a `normaliser`: the number of completion tokens of the
*whole* optimiser step. Its result is therefore a share of the step, and the shares of the micro-batches add up to
exactly what one large batch gives, losses and statistics alike. All tokens of a step weigh the same, whichever rollout
they belong to (token-level loss, as in NVIDIA's recipes).

Left out: sequence-level ratios (the paper writes the ratio at completion level; its authors' recipes train with token
ratios), dual clipping, and a separate importance weight between sampler and trainer: `old_logprobs` are the sampler's
own, so the ratio already carries that correction.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """The clipped-ratio loss and what the clip did; each a scalar share of the step, only `loss` with a gradient."""

    loss: Tensor
    """Negative clipped surrogate."""
    ratio_mean: Tensor
    """Mean probability ratio pi / pi_old, before any clipping."""
    clip_low: Tensor
    """Share of tokens whose gradient is cut because the ratio fell below 1 - clip_low while the advantage is < 0."""
    clip_high: Tensor
    """Share of tokens whose gradient is cut because the ratio rose above 1 + clip_high while the advantage is > 0."""


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    normaliser: float,
) -> PolicyLoss:
    """The clipped surrogate of PPO and GRPO, token by token.

        L = -1/normaliser * sum_t min(w_t A_t, clip(w_t, 1 - clip_low, 1 + clip_high) A_t),   w = exp(logp - logp_old)

    PivotRL (arXiv 2603.21383), Eq. 7; PPO (arXiv 1707.06347); separate bounds from DAPO (arXiv 2503.14476). At w = 1
    the gradient is the plain policy gradient, -A grad logp. Advantage 0 gives loss and gradient 0 at that token.
    """
    ratio = torch.exp(logprobs - old_logprobs)
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - clip_low, 1 + clip_high) * advantages)
    ratio_fixed = ratio.detach()
    cut_low = (ratio_fixed < 1 - clip_low) & (advantages < 0)
    cut_high = (ratio_fixed > 1 + clip_high) & (advantages > 0)
    return PolicyLoss(
        loss=-surrogate.sum() / normaliser,
        ratio_mean=ratio_fixed.sum() / normaliser,
        clip_low=cut_low.to(ratio_fixed).sum() / normaliser,
        clip_high=cut_high.to(ratio_fixed).sum() / normaliser,
    )


def k3(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """Estimate [T] of KL(pi || ref) from tokens that pi sampled: exp(d) - d - 1 with d = logp_ref - logp.

    Schulman, "Approximating KL divergence" (2020). Never negative, zero where the two agree, unbiased in *value*. Its
    *gradient* is another matter: grad k3 = (1 - exp(d)) grad logp, whose mean over pi's samples is grad KL(ref || pi),
    the KL with its roles exchanged. For the gradient of KL(pi || ref), see `kl_loss`.
    """
    gap = reference_logprobs - logprobs
    return torch.expm1(gap) - gap


def kl_loss(logprobs: Tensor, reference_logprobs: Tensor, old_logprobs: Tensor, *, normaliser: float) -> Tensor:
    """Penalty whose gradient is that of KL(pi || ref) at each token, for tokens that the old policy sampled.

        L = 1/normaliser * sum_t w_t k3_t,   w = exp(logp - logp_old)

    grad (w k3) = w (k3 + 1 - exp(d)) grad logp = -w d grad logp, and E_old[-w d grad logp] = grad KL(pi || ref). This
    is the KL of Eq. 7 and of Theorem 3.3; the ratio stays unclipped. The states count as given: what a token does to
    the KL of later tokens is left out, as in every token-level KL penalty.
    """
    ratio = torch.exp(logprobs - old_logprobs)
    return (ratio * k3(logprobs, reference_logprobs)).sum() / normaliser


def sft_loss(logprobs: Tensor, *, normaliser: float) -> Tensor:
    """Negative log-likelihood of demonstrated tokens, -1/normaliser * sum_t logp_t."""
    return -logprobs.sum() / normaliser
