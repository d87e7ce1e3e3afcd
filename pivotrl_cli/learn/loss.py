"""Losses over flat completion tokens: ratios and surrogates of the policy gradient, KL to a reference, imitation.

Every function takes one entry per completion token, in nats, and `weights`, each token's weight in the *whole*
optimizer step. A result is therefore a share of the step, and the shares of the micro-batches add up to exactly what
one large batch gives. A loss is a ratio, a surrogate and a weighting; `LOSSES` has the published ones by name.

Left out: dual clipping, and the paper's ratio at completion level without the length normalisation of GSPO, whose
variance grows with the length (its authors' recipes train with token ratios).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Weighting = Literal["token", "sequence", "constant"]


def token_ratio(logprobs: Tensor, old: Tensor, owner: Tensor) -> Tensor:
    """Probability ratio [T] of each token, w_t = exp(logp_t - logp_old_t)."""
    return torch.exp(logprobs - old)


def sequence_ratio(logprobs: Tensor, old: Tensor, owner: Tensor) -> Tensor:
    """GSPO (arXiv 2507.18071), Eq. 5: one ratio [T] for all tokens of a completion, their geometric mean.

        s_i = exp(mean_t (logp_t - logp_old_t))

    `owner` [T] numbers the completion of each token from 0; a completion must not be split over micro-batches. Under
    the weighting `sequence` the sum over a completion is its s_i A_i / N, as in the paper.
    """
    n = torch.bincount(owner)
    gap = logprobs - old
    mean_gap = gap.new_zeros(len(n)).index_add(0, owner, gap) / n.clamp(min=1)
    return torch.exp(mean_gap)[owner]


@dataclass(frozen=True, slots=True)
class Surrogate:
    """Per token [T]; only `values` carries a gradient."""

    values: Tensor
    """What the update increases, before weighting and summing."""
    clipped_low: Tensor
    """Whether the lower bound of the ratio cuts the gradient; for CISPO, whether it changes the weight."""
    clipped_high: Tensor
    """Whether the upper bound does."""


def clipped_surrogate(ratio: Tensor, advantages: Tensor, logprobs: Tensor, low: float, high: float) -> Surrogate:
    """The clipped surrogate of PPO and GRPO.

        min(w_t A_t, clip(w_t, 1 - low, 1 + high) A_t)

    PivotRL (arXiv 2603.21383), Eq. 7; PPO (arXiv 1707.06347); separate bounds from DAPO (arXiv 2503.14476). At w = 1
    the gradient is the plain policy gradient, A grad logp. Advantage 0 gives value and gradient 0 at that token.
    """
    fixed = ratio.detach()
    return Surrogate(
        values=torch.minimum(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages),
        clipped_low=(fixed < 1 - low) & (advantages < 0),
        clipped_high=(fixed > 1 + high) & (advantages > 0),
    )


def cispo_surrogate(ratio: Tensor, advantages: Tensor, logprobs: Tensor, low: float, high: float) -> Surrogate:
    """CISPO (arXiv 2506.13585), Eq. 4: the policy gradient under a bounded importance weight, which has no gradient.

        sg(clip(w_t, 1 - low, 1 + high)) A_t logp_t

    No token loses its gradient; `low` of 1 leaves the weight unbounded below, as its authors do.
    """
    fixed = ratio.detach()
    return Surrogate(fixed.clamp(1 - low, 1 + high) * advantages * logprobs, fixed < 1 - low, fixed > 1 + high)


@dataclass(frozen=True, slots=True)
class Loss:
    """A published loss: whose ratio is bounded and how, and what a token weighs."""

    ratio: Callable[[Tensor, Tensor, Tensor], Tensor]
    surrogate: Callable[[Tensor, Tensor, Tensor, float, float], Surrogate]
    weighting: Weighting


LOSSES: dict[str, Loss] = {
    "grpo": Loss(token_ratio, clipped_surrogate, "sequence"),
    "dapo": Loss(token_ratio, clipped_surrogate, "token"),
    "dr_grpo": Loss(token_ratio, clipped_surrogate, "constant"),
    "gspo": Loss(sequence_ratio, clipped_surrogate, "sequence"),
    "cispo": Loss(token_ratio, cispo_surrogate, "token"),
}
"""Losses by name."""


def token_weights(weighting: Weighting, lengths: Sequence[int], longest: int) -> list[float]:
    """Weight of one token of each completion, given the lengths in tokens of all completions of the step.

    `token`: all tokens equal (DAPO). `sequence`: all completions equal, whatever their length (GRPO, arXiv 2402.03300).
    `constant`: as if every completion had the `longest` length allowed, so that no weight depends on a length
    (Dr. GRPO, arXiv 2503.20783). Weights of all tokens sum to 1, but for `constant`, where they sum to at most 1.

    Example: lengths [1, 3] weigh [1/4, 1/4], [1/2, 1/6] or, with longest 5, [1/10, 1/10].
    """
    if weighting == "token":
        return [1 / sum(lengths)] * len(lengths)
    return [1 / (len(lengths) * (length if weighting == "sequence" else longest)) for length in lengths]


def importance_weights(old: Tensor, sampler: Tensor, cap: float) -> Tensor:
    """Truncated weights [T] that correct for a sampler which is not quite the old policy: min(pi_old / mu, cap).

    Yao et al., "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training" (2025). Both log-probabilities
    without gradient; equal ones weigh 1. A `cap` below 1 would shrink every gradient, and is an error.
    """
    if cap < 1:
        raise ValueError(f"cap is {cap}, must be at least 1")
    return torch.exp(old - sampler).clamp(max=cap)


def k3(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """Estimate [T] of KL(pi || ref) from tokens that pi sampled: exp(d) - d - 1 with d = logp_ref - logp.

    Schulman, "Approximating KL divergence" (2020). Never negative, zero where the two agree, unbiased in *value*. Its
    *gradient* is another matter: grad k3 = (1 - exp(d)) grad logp, whose mean over pi's samples is grad KL(ref || pi),
    the KL with its roles exchanged. For the gradient of KL(pi || ref), see `kl_loss`.
    """
    gap = reference_logprobs - logprobs
    return torch.expm1(gap) - gap


def kl_loss(logprobs: Tensor, reference_logprobs: Tensor, old_logprobs: Tensor, weights: Tensor) -> Tensor:
    """Penalty whose gradient is that of KL(pi || ref) at each token, for tokens that the old policy sampled.

        L = sum_t weight_t w_t k3_t,   w = exp(logp - logp_old)

    grad (w k3) = w (k3 + 1 - exp(d)) grad logp = -w d grad logp, and E_old[-w d grad logp] = grad KL(pi || ref). This
    is the KL of Eq. 7 and of Theorem 3.3; the ratio stays unclipped. The states count as given: what a token does to
    the KL of later tokens is left out, as in every token-level KL penalty.
    """
    ratio = torch.exp(logprobs - old_logprobs)
    return (weights * ratio * k3(logprobs, reference_logprobs)).sum()


def sft_loss(logprobs: Tensor, weights: Tensor) -> Tensor:
    """Negative log-likelihood of demonstrated tokens, -sum_t weight_t logp_t."""
    return -(weights * logprobs).sum()
