"""The paper's theory by number, on tabular softmax policies in float64 (arXiv 2603.21383, section 3).

Prop. 3.1   equal rewards in a group give no gradient.
Thm. 3.2    the Fisher norm of the natural gradient of J = E[r] is the reward's standard deviation, and the speed of the
            KL-regularised path pi_beta = argmax E[r] - beta KL(pi || pi_0) along beta is that deviation over beta^2.
Thm. 3.3    the KL-regularised optimum moves mass onto the accepted set M and keeps every ratio within M and outside.
            With rho = pi_0(M): maximising over pi(a) = pi_0(a) e^(r(a)/beta) / Z with r = 1[a in M] gives
            Z = rho e^(1/beta) + 1 - rho, hence mass(M) = rho e^(1/beta) / (rho e^(1/beta) + 1 - rho).

Nothing here uses the closed form that it checks: gradients come from autograd, the Fisher matrix from its definition,
optima from a numerical optimizer.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pivotrl_cli.learn.advantage import group_normalized
from pivotrl_cli.learn.loss import clipped_surrogate, token_ratio

BETAS = [0.3, 1.0, 3.0]
REWARDS = torch.tensor([1, 0, 1, 0, 0, 1, 0], dtype=torch.float64)
BINARY = REWARDS.bool()
PI_0 = torch.randn(7, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).log_softmax(0)


def expected_reward(logits: Tensor, rewards: Tensor) -> Tensor:
    return logits.softmax(0) @ rewards


def deviation(logprobs: Tensor, rewards: Tensor) -> float:
    """Population standard deviation of the reward under a policy."""
    p = logprobs.exp()
    return (p @ (rewards - p @ rewards).square()).sqrt().item()


def fisher(logits: Tensor) -> Tensor:
    """E_a[grad log pi(a) grad log pi(a)^T] in the logits."""
    scores = torch.autograd.functional.jacobian(lambda x: x.log_softmax(0), logits)
    return scores.T @ torch.diag(logits.softmax(0)) @ scores


def natural_gradient_norm(logits: Tensor, rewards: Tensor) -> float:
    """sqrt(n^T F n) of the natural gradient n = F^+ grad J; F is singular along the constant direction."""
    logits = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(expected_reward(logits, rewards), logits)
    matrix = fisher(logits.detach())
    natural = torch.linalg.pinv(matrix, hermitian=True) @ gradient
    return (natural @ matrix @ natural).sqrt().item()


def regularised_optimum(beta: float, rewards: Tensor = REWARDS) -> Tensor:
    """Log-probabilities that maximise E[r] - beta KL(pi || pi_0), found by L-BFGS on the logits."""
    logits = PI_0.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [logits], max_iter=500, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        logprobs = logits.log_softmax(0)
        value = -expected_reward(logits, rewards) + beta * (logprobs.exp() * (logprobs - PI_0)).sum()
        value.backward()
        return value

    optimizer.step(loss)
    return logits.detach().log_softmax(0)


def on_path(beta: float) -> Tensor:
    """The same optimum in closed form, for derivatives; checked against the optimizer below."""
    return (PI_0 + REWARDS / beta).log_softmax(0)


@pytest.mark.parametrize("reward", [0.0, 1.0, 0.3])
def test_prop_3_1_equal_rewards_give_no_gradient(reward: float):
    advantages = group_normalized(torch.full((1, 8), reward, dtype=torch.float64))[0]
    logits = PI_0.clone().requires_grad_()
    actions = torch.tensor([0, 1, 2, 3, 4, 5, 6, 0])
    logprobs = logits.log_softmax(0)[actions]
    ratio = token_ratio(logprobs, logprobs.detach(), actions)
    loss = clipped_surrogate(ratio, advantages, logprobs, 0.2, 0.2).values.sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.tolist() == [0.0] * 7


@pytest.mark.parametrize("seed", range(5))
def test_thm_3_2_natural_gradient_norm_is_the_reward_deviation(seed: int):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(9, dtype=torch.float64, generator=generator)
    binary = (torch.arange(9) < 1 + seed).double()
    graded = torch.rand(9, dtype=torch.float64, generator=generator)
    for rewards in (binary, graded):
        assert natural_gradient_norm(logits, rewards) == pytest.approx(
            deviation(logits.log_softmax(0), rewards), rel=1e-9
        )


def test_thm_3_2_binary_reward_is_most_informative_at_one_half():
    """sqrt(p (1 - p)): nothing to learn from at pass rates 0 and 1, most at 1/2."""
    reward = torch.tensor([1.0, 0.0], dtype=torch.float64)
    for rate in (0.01, 0.25, 0.5, 0.75, 0.99):
        logits = torch.tensor([rate, 1 - rate], dtype=torch.float64).log()
        assert natural_gradient_norm(logits, reward) == pytest.approx(math.sqrt(rate * (1 - rate)), rel=1e-9)


@pytest.mark.parametrize("beta", BETAS)
def test_thm_3_2_speed_of_the_regularised_path(beta: float):
    """Fisher length of d pi_beta / d beta by central difference = std / beta^2 = natural gradient norm / beta^2."""
    step = 1e-5 * beta
    velocity = (on_path(beta + step).exp() - on_path(beta - step).exp()) / (2 * step)
    speed = (velocity.square() / on_path(beta).exp()).sum().sqrt().item()
    assert speed == pytest.approx(deviation(on_path(beta), REWARDS) / beta**2, rel=1e-7)
    assert speed == pytest.approx(natural_gradient_norm(on_path(beta), REWARDS) / beta**2, rel=1e-7)


@pytest.mark.parametrize("beta", BETAS)
def test_the_path_is_what_the_optimizer_finds(beta: float):
    torch.testing.assert_close(regularised_optimum(beta), on_path(beta), rtol=0, atol=1e-6)


@pytest.mark.parametrize("beta", BETAS)
def test_thm_3_3_ratios_are_preserved_inside_and_outside(beta: float):
    change = regularised_optimum(beta) - PI_0
    inside, outside = change[BINARY], change[~BINARY]
    assert (inside.max() - inside.min()).item() < 1e-6
    assert (outside.max() - outside.min()).item() < 1e-6
    assert (inside.mean() - outside.mean()).item() == pytest.approx(1 / beta, abs=1e-6)


@pytest.mark.parametrize("beta", BETAS)
def test_thm_3_3_mass_of_the_accepted_set(beta: float):
    rho = PI_0.exp()[BINARY].sum().item()
    mass = regularised_optimum(beta).exp()[BINARY].sum().item()
    assert mass == pytest.approx(rho * math.exp(1 / beta) / (rho * math.exp(1 / beta) + 1 - rho), abs=1e-9)
    assert mass > rho


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_thm_3_3_mass_stays_where_all_or_nothing_is_accepted(reward: float):
    torch.testing.assert_close(regularised_optimum(0.5, torch.full_like(PI_0, reward)), PI_0, rtol=0, atol=1e-9)


def test_thm_3_3_without_the_penalty_ratios_are_lost():
    """Why beta matters: the plain policy gradient favours, among equally right actions, those that are frequent."""
    logits = PI_0.clone().requires_grad_()
    for _ in range(200):
        (gradient,) = torch.autograd.grad(expected_reward(logits, REWARDS), logits)
        logits = (logits + gradient).detach().requires_grad_()
    change = (logits.log_softmax(0) - PI_0)[BINARY]
    assert (change.max() - change.min()).item() > 0.1
