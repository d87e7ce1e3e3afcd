"""Group-normalised advantages: how much better a rollout was than its siblings at the same state.

The groups of a step all have G rollouts when they are sampled, so rewards come as [P, G]; a rollout that could not be
scored is masked, never a zero. Left out: the leave-one-out baseline of NVIDIA's recipes, which for a full group is this
advantage times G/(G-1).
"""

from __future__ import annotations

import torch
from torch import Tensor


def group_normalised(rewards_P_G: Tensor, scored_P_G: Tensor | None = None, eps_std: float = 1e-6) -> Tensor:
    """Advantages [P, G] of rewards [P, G].

        A_i = (r_i - mean) / (std + eps_std)          PivotRL (arXiv 2603.21383), Eq. 7; GRPO (arXiv 2402.03300)

    with mean and population standard deviation over the scored rollouts of the group. Without a mask, a rollout is
    scored where its reward is not NaN; an unscored one has no part in mean and std, and advantage 0.

    Degenerate groups have no gradient (Prop. 3.1) and get exact zeros: pass rate 0, pass rate 1, any other group of
    equal rewards (whatever rounding makes of its std), one scored rollout, none.

    Example: rewards [1, 0, 0, 1] -> [1, -1, -1, 1] and [1, 0, NaN] -> [1, -1, 0], up to eps_std.
    """
    if scored_P_G is None:
        scored_P_G = ~rewards_P_G.isnan()
    rewards = rewards_P_G.where(scored_P_G, 0.0)
    n_P_1 = scored_P_G.sum(dim=1, keepdim=True).clamp(min=1)
    centred = (rewards - rewards.sum(dim=1, keepdim=True) / n_P_1).where(scored_P_G, 0.0)
    std_P_1 = (centred.square().sum(dim=1, keepdim=True) / n_P_1).sqrt()
    return (centred / (std_P_1 + eps_std)).where(has_variance(rewards_P_G, scored_P_G)[:, None], 0.0)


def has_variance(rewards_P_G: Tensor, scored_P_G: Tensor) -> Tensor:
    """Which groups [P] have two different scored rewards; compares rewards, so that no rounding can invent one."""
    lowest_P = rewards_P_G.where(scored_P_G, torch.inf).amin(dim=1)
    highest_P = rewards_P_G.where(scored_P_G, -torch.inf).amax(dim=1)
    return highest_P > lowest_P
