"""Losses by hand, by autograd, and by enumeration of every action of a tabular softmax policy."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pivotrl_cli.learn.loss import k3, kl_loss, policy_loss, sft_loss

CLIP = {"clip_low": 0.2, "clip_high": 0.3}


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def policies(n_actions: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits of a policy (with gradient), log-probabilities of an older one and of a reference, rewards."""
    generator = torch.Generator().manual_seed(1)
    logits, old, reference, rewards = torch.randn(4, n_actions, dtype=torch.float64, generator=generator)
    return logits.requires_grad_(), old.log_softmax(0), reference.log_softmax(0), rewards


def gradient(loss: Tensor, *inputs: Tensor) -> Tensor:
    return torch.autograd.grad(loss, inputs, retain_graph=True)[0]


@pytest.mark.parametrize(
    ("ratio", "advantage", "surrogate", "slope", "cut_low", "cut_high"),
    [
        (0.5, 2.0, 1.0, 2.0, 0.0, 0.0),  # too rare and good: pulled back up
        (0.5, -2.0, -1.6, 0.0, 1.0, 0.0),  # too rare and bad: far enough
        (1.0, 2.0, 2.0, 2.0, 0.0, 0.0),
        (1.0, -2.0, -2.0, -2.0, 0.0, 0.0),
        (1.5, 2.0, 2.6, 0.0, 0.0, 1.0),  # too frequent and good: far enough
        (1.5, -2.0, -3.0, -2.0, 0.0, 0.0),  # too frequent and bad: pushed back down
        (1.5, 0.0, 0.0, 0.0, 0.0, 0.0),
    ],
)
def test_clipped_ratio_by_hand(
    ratio: float, advantage: float, surrogate: float, slope: float, cut_low: float, cut_high: float
):
    logprobs = vector(math.log(ratio) - 1.0).requires_grad_()
    result = policy_loss(logprobs, vector(-1.0), vector(advantage), **CLIP, normaliser=4)
    assert result.loss.item() == pytest.approx(-surrogate / 4)
    # d ratio / d logp = ratio
    assert gradient(result.loss, logprobs).item() == pytest.approx(-slope * ratio / 4)
    assert (result.clip_low.item(), result.clip_high.item()) == (cut_low / 4, cut_high / 4)
    assert result.ratio_mean.item() == pytest.approx(ratio / 4)


def test_statistics_carry_no_gradient():
    result = policy_loss(vector(-1.0).requires_grad_(), vector(-1.5), vector(1.0), **CLIP, normaliser=1)
    assert [t.requires_grad for t in (result.loss, result.ratio_mean, result.clip_low, result.clip_high)] == [
        True,
        False,
        False,
        False,
    ]


def test_on_policy_gradient_is_the_exact_policy_gradient():
    """E_a[A grad log pi] over all actions = pi (r - E r), and the loss descends along it."""
    logits, _, _, rewards = policies()
    logprobs = logits.log_softmax(0)
    probabilities = logprobs.exp().detach()
    centred = rewards - probabilities @ rewards
    # The surrogate is homogeneous in A, so a weight on A weighs the action.
    loss = policy_loss(logprobs, logprobs.detach(), probabilities * centred, **CLIP, normaliser=1).loss
    torch.testing.assert_close(gradient(loss, logits), -probabilities * centred, rtol=1e-13, atol=1e-15)


def test_baseline_and_scale_change_the_exact_gradient_by_a_factor_only():
    logits, _, _, rewards = policies()
    logprobs = logits.log_softmax(0)
    weights = logprobs.exp().detach()
    raw, normalised = (
        gradient(policy_loss(logprobs, logprobs.detach(), weights * a, **CLIP, normaliser=1).loss, logits)
        for a in (rewards, (rewards - 0.7) / 3)
    )
    torch.testing.assert_close(raw, normalised * 3, rtol=1e-12, atol=1e-14)


def test_unclipped_off_policy_gradient_is_importance_weighted():
    logits, old, _, rewards = policies()
    logits = (logits.detach() * 0.05 + old).requires_grad_()
    logprobs = logits.log_softmax(0)
    assert ((logprobs - old).exp() - 1).abs().max() < 0.2
    loss = policy_loss(logprobs, old, old.exp() * rewards, **CLIP, normaliser=1).loss
    expected = gradient(-(logits.softmax(0) @ rewards), logits)
    torch.testing.assert_close(gradient(loss, logits), expected, rtol=1e-12, atol=1e-14)


def test_k3_by_hand():
    # reference twice as likely: 2 - ln 2 - 1; half as likely: 1/2 + ln 2 - 1
    values = k3(vector(0.0, -1.0, -2.0), vector(math.log(2), -1.0 - math.log(2), -2.0))
    assert values.tolist() == pytest.approx([1 - math.log(2), math.log(2) - 0.5, 0.0])


def test_k3_keeps_its_digits_where_the_policies_almost_agree():
    # d^2 / 2; exp(d) - d - 1 as written has no digit left here
    assert k3(vector(-1.0), vector(-1.0 + 1e-9)).item() == pytest.approx(0.5e-18, rel=1e-5, abs=0)


def test_k3_is_never_negative():
    assert (k3(torch.linspace(-9, 0, 50), torch.linspace(0, -9, 50)) >= 0).all()


def test_mean_of_k3_is_the_kl_divergence():
    logits, _, reference, _ = policies()
    logprobs = logits.log_softmax(0)
    expected = (logprobs.exp() * (logprobs - reference)).sum()
    torch.testing.assert_close((logprobs.exp() * k3(logprobs, reference)).sum(), expected, rtol=1e-13, atol=0)


def test_gradient_of_k3_is_the_other_divergence():
    logits, _, reference, _ = policies()
    logprobs = logits.log_softmax(0)
    sampled = (logprobs.exp().detach() * k3(logprobs, reference)).sum()
    other = (reference.exp() * (reference - logprobs)).sum()
    torch.testing.assert_close(gradient(sampled, logits), gradient(other, logits), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("on_policy", [True, False])
def test_gradient_of_kl_loss_is_the_kl_divergence(on_policy: bool):
    logits, old, reference, _ = policies()
    logprobs = logits.log_softmax(0)
    old = logprobs.detach() if on_policy else old
    terms = [
        old[a].exp() * kl_loss(logprobs[a, None], reference[a, None], old[a, None], normaliser=1)
        for a in range(len(old))
    ]
    divergence = (logprobs.exp() * (logprobs - reference)).sum()
    torch.testing.assert_close(
        gradient(torch.stack(terms).sum(), logits), gradient(divergence, logits), rtol=1e-12, atol=1e-14
    )


def test_sft_loss_by_hand():
    logprobs = vector(-1.0, -3.0).requires_grad_()
    loss = sft_loss(logprobs, normaliser=8)
    assert loss.item() == 0.5
    assert gradient(loss, logprobs).tolist() == [-0.125, -0.125]


def test_shares_of_micro_batches_add_up():
    logprobs, old, reference, advantages = torch.randn(4, 12, generator=torch.Generator().manual_seed(2)).double()

    def shares(part: slice) -> list[Tensor]:
        lp, o, r, a = logprobs[part], old[part], reference[part], advantages[part]
        policy = policy_loss(lp, o, a, **CLIP, normaliser=12)
        rest = [kl_loss(lp, r, o, normaliser=12), sft_loss(lp, normaliser=12)]
        return [policy.loss, policy.ratio_mean, policy.clip_low, policy.clip_high, *rest]

    whole, first, second = (torch.stack(shares(s)) for s in (slice(0, 12), slice(0, 5), slice(5, 12)))
    torch.testing.assert_close(first + second, whole, rtol=1e-14, atol=1e-15)
