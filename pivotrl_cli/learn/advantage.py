"""Advantages: how much better a rollout was than its siblings at the same state.

The groups of a step all have G rollouts when they are sampled, so rewards come as [P, G]; a rollout that could not be
scored is masked, never a zero. All kinds give exact zeros to groups without variance.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def group_normalized(rewards_P_G: Tensor, scored_P_G: Tensor | None = None, eps_std: float = 1e-6) -> Tensor:
    """Advantages [P, G] of rewards [P, G].

        A_i = (r_i - mean) / (std + eps_std)          PivotRL (arXiv 2603.21383), Eq. 7; GRPO (arXiv 2402.03300)

    with mean and population standard deviation over the scored rollouts of the group. Without a mask, a rollout is
    scored where its reward is not NaN; an unscored one has no part in mean and std, and advantage 0.

    Degenerate groups have no gradient (Prop. 3.1) and get exact zeros: pass rate 0, pass rate 1, any other group of
    equal rewards (whatever rounding makes of its std), one scored rollout, none.

    Example: rewards [1, 0, 0, 1] -> [1, -1, -1, 1] and [1, 0, NaN] -> [1, -1, 0], up to eps_std.
    """
    differences, n_P_1, scored = _subtract_mean(rewards_P_G, scored_P_G)
    std_P_1 = (differences.square().sum(dim=1, keepdim=True) / n_P_1).sqrt()
    return (differences / (std_P_1 + eps_std)).where(has_variance(rewards_P_G, scored)[:, None], 0.0)


def mean_centered(rewards_P_G: Tensor, scored_P_G: Tensor | None = None) -> Tensor:
    """Advantages [P, G] without division by the standard deviation, A_i = r_i - mean: Dr. GRPO (arXiv 2503.20783).

    Hard and easy groups then count less than groups near one half, by the factor that the division takes away.

    Example: rewards [1, 0, 0, 0] -> [3/4, -1/4, -1/4, -1/4].
    """
    result, _, scored = _subtract_mean(rewards_P_G, scored_P_G)
    return result.where(has_variance(rewards_P_G, scored)[:, None], 0.0)


def leave_one_out(rewards_P_G: Tensor, scored_P_G: Tensor | None = None, eps_std: float = 1e-6) -> Tensor:
    """Advantages [P, G] against the mean of the *other* rollouts, over their standard deviation: NVIDIA's recipes.

        A_i = (r_i - mean_{j != i} r_j) / (std_{j != i} + eps_std)

    The baseline does not depend on the rollout itself (RLOO, arXiv 2402.14740), so the gradient before the division has
    no bias. The standard deviation of the others is that of a sample, with n - 1. Where all others are equal, or there
    is only one, NeMo-RL leaves the difference undivided, and so does this.

    Example: rewards [1, 0, 0] -> [1, -sqrt(1/2), -sqrt(1/2)]: for the first the others are equal; for the second they
    are [1, 0], with mean 1/2 and standard deviation sqrt(1/2).
    """
    mean_centred, n_P_1, scored = _subtract_mean(rewards_P_G, scored_P_G)
    others_P_1 = (n_P_1 - 1).clamp(min=1)
    total_P_1 = mean_centred.square().sum(dim=1, keepdim=True)
    difference = mean_centred * n_P_1 / others_P_1
    variance = (total_P_1 - mean_centred.square() * (1 + 1 / others_P_1)) / (others_P_1 - 1).clamp(min=1)
    divisor = (variance.clamp(min=0).sqrt() + eps_std).where(variance > 1e-9 * total_P_1, 1.0)
    return (difference / divisor).where(has_variance(rewards_P_G, scored)[:, None] & scored, 0.0)


ADVANTAGES: dict[str, Callable[[Tensor], Tensor]] = {
    "group": group_normalized,
    "leave_one_out": leave_one_out,
    "no_std": mean_centered,
}
"""Kinds of advantage by name."""


def _subtract_mean(rewards_P_G: Tensor, scored_P_G: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards minus their group's mean, 0 where unscored; number scored [P, 1]; mask of the scored [P, G]."""
    scored = ~rewards_P_G.isnan() if scored_P_G is None else scored_P_G
    rewards = rewards_P_G.where(scored, 0.0)
    n_P_1 = scored.sum(dim=1, keepdim=True).clamp(min=1)
    mean_P_1 = rewards.sum(dim=1, keepdim=True) / n_P_1
    return (rewards - mean_P_1).where(scored, 0.0), n_P_1, scored


def has_variance(rewards_P_G: Tensor, scored_P_G: Tensor) -> Tensor:
    """Which groups [P] have two different scored rewards; compares rewards, so that no rounding can invent one."""
    lowest_P = rewards_P_G.where(scored_P_G, torch.inf).amin(dim=1)
    highest_P = rewards_P_G.where(scored_P_G, -torch.inf).amax(dim=1)
    return highest_P > lowest_P
