"""Losses by hand, by autograd, and by enumeration of every action of a tabular softmax policy."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pivotrl_cli.learn.loss import (
    LOSSES,
    Surrogate,
    cispo_surrogate,
    clipped_surrogate,
    importance_weights,
    k3,
    kl_loss,
    sequence_ratio,
    sft_loss,
    token_weights,
)

CLIP = (0.2, 0.3)
OWN = torch.tensor([0])


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def policies(n_actions: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits of a policy (with gradient), log-probabilities of an older one and of a reference, rewards."""
    generator = torch.Generator().manual_seed(1)
    logits, old, reference, rewards = torch.randn(4, n_actions, dtype=torch.float64, generator=generator)
    return logits.requires_grad_(), old.log_softmax(0), reference.log_softmax(0), rewards


def surrogate_of(
    name: str, logprobs: Tensor, old: Tensor, advantages: Tensor, owner: Tensor
) -> tuple[Tensor, Surrogate]:
    ratio = LOSSES[name].ratio(logprobs, old, owner)
    return ratio, LOSSES[name].surrogate(ratio, advantages, logprobs, *CLIP)


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
    measured, result = surrogate_of("grpo", logprobs, vector(-1.0), vector(advantage), OWN)
    assert result.values.item() == pytest.approx(surrogate)
    # d ratio / d logp = ratio
    assert gradient(result.values.sum(), logprobs).item() == pytest.approx(slope * ratio)
    assert (result.clipped_low.item(), result.clipped_high.item()) == (cut_low, cut_high)
    assert measured.item() == pytest.approx(ratio)


@pytest.mark.parametrize("name", LOSSES)
def test_only_the_values_carry_a_gradient(name: str):
    _, result = surrogate_of(name, vector(-1.0).requires_grad_(), vector(-1.5), vector(1.0), OWN)
    assert [t.requires_grad for t in (result.values, result.clipped_low, result.clipped_high)] == [True, False, False]


@pytest.mark.parametrize("name", LOSSES)
def test_on_policy_gradient_is_the_exact_policy_gradient(name: str):
    """E_a[A grad log pi] over all actions = pi (r - E r), and the surrogate ascends along it."""
    logits, _, _, rewards = policies()
    logprobs = logits.log_softmax(0)
    probabilities = logprobs.exp().detach()
    advantages = rewards - probabilities @ rewards
    # The surrogates are homogeneous in A, so a weight on A weighs the action.
    _, result = surrogate_of(name, logprobs, logprobs.detach(), probabilities * advantages, torch.arange(6))
    torch.testing.assert_close(
        gradient(result.values.sum(), logits), probabilities * advantages, rtol=1e-13, atol=1e-15
    )


def test_baseline_and_scale_change_the_exact_gradient_by_a_factor_only():
    logits, _, _, rewards = policies()
    logprobs = logits.log_softmax(0)
    weights = logprobs.exp().detach()
    raw, normalised = (
        gradient(surrogate_of("grpo", logprobs, logprobs.detach(), weights * a, OWN)[1].values.sum(), logits)
        for a in (rewards, (rewards - 0.7) / 3)
    )
    torch.testing.assert_close(raw, normalised * 3, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("surrogate", [clipped_surrogate, cispo_surrogate])
def test_unclipped_off_policy_gradient_is_importance_weighted(surrogate):
    logits, old, _, rewards = policies()
    logits = (logits.detach() * 0.05 + old).requires_grad_()
    logprobs = logits.log_softmax(0)
    assert ((logprobs - old).exp() - 1).abs().max() < 0.2
    values = surrogate((logprobs - old).exp(), old.exp() * rewards, logprobs, *CLIP).values
    expected = gradient(logits.softmax(0) @ rewards, logits)
    torch.testing.assert_close(gradient(values.sum(), logits), expected, rtol=1e-12, atol=1e-14)


def test_the_sequence_ratio_is_the_geometric_mean_of_its_tokens():
    # completion 0: ratios 2 and 1/2, mean gap 0; completion 1: ratio 1.1
    old = vector(-1.0, -1.0, -2.0)
    logprobs = (old + vector(math.log(2), -math.log(2), math.log(1.1))).requires_grad_()
    owner = torch.tensor([0, 0, 1])
    ratio, result = surrogate_of("gspo", logprobs, old, vector(3.0, 3.0, -1.0), owner)
    assert torch.equal(ratio, sequence_ratio(logprobs, old, owner))
    assert ratio.tolist() == pytest.approx([1.0, 1.0, 1.1])
    assert result.values.tolist() == pytest.approx([3.0, 3.0, -1.1])
    # weighted by sequence, completion 0 counts s A / N once, and its gradient falls on both tokens alike
    weights = vector(*[w for w, n in zip(token_weights("sequence", [2, 1], 9), [2, 1], strict=True) for _ in range(n)])
    loss = (weights * result.values).sum()
    assert loss.item() == pytest.approx((3.0 - 1.1) / 2)
    assert gradient(loss, logprobs).tolist() == pytest.approx([0.75, 0.75, -0.55])


def test_the_sequence_ratio_is_clipped_as_a_whole():
    old = vector(-1.0, -1.0)
    logprobs = (old + math.log(1.5)).requires_grad_()
    _, result = surrogate_of("gspo", logprobs, old, vector(1.0, 1.0), torch.tensor([0, 0]))
    assert (result.values.tolist(), result.clipped_high.tolist()) == (pytest.approx([1.3, 1.3]), [True, True])
    assert gradient(result.values.sum(), logprobs).tolist() == [0.0, 0.0]


def test_a_clipped_weight_keeps_every_gradient():
    old = vector(-1.0, -1.0, -1.0)
    logprobs = (old + vector(math.log(0.5), 0.0, math.log(2.0))).requires_grad_()
    _, result = surrogate_of("cispo", logprobs, old, vector(1.0, 1.0, -1.0), torch.arange(3))
    assert gradient(result.values.sum(), logprobs).tolist() == pytest.approx([0.8, 1.0, -1.3])
    assert (result.clipped_low.tolist(), result.clipped_high.tolist()) == ([True, False, False], [False, False, True])


def test_token_weights_by_hand():
    assert token_weights("token", [1, 3], 5) == [1 / 4, 1 / 4]
    assert token_weights("sequence", [1, 3], 5) == [1 / 2, 1 / 6]
    assert token_weights("constant", [1, 3], 5) == [1 / 10, 1 / 10]


def test_importance_weights_are_truncated_from_above():
    weights = importance_weights(vector(-1.0, -1.0, -1.0), vector(-1.0, -1 - math.log(4), -1 + math.log(4)), cap=2.0)
    assert weights.tolist() == pytest.approx([1.0, 2.0, 0.25])
    with pytest.raises(ValueError, match=r"cap is 0\.5, must be at least 1"):
        importance_weights(vector(0.0), vector(0.0), cap=0.5)


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
        old[a].exp() * kl_loss(logprobs[a, None], reference[a, None], old[a, None], vector(1.0))
        for a in range(len(old))
    ]
    divergence = (logprobs.exp() * (logprobs - reference)).sum()
    torch.testing.assert_close(
        gradient(torch.stack(terms).sum(), logits), gradient(divergence, logits), rtol=1e-12, atol=1e-14
    )


def test_sft_loss_by_hand():
    logprobs = vector(-1.0, -3.0).requires_grad_()
    loss = sft_loss(logprobs, vector(0.125, 0.125))
    assert loss.item() == 0.5
    assert gradient(loss, logprobs).tolist() == [-0.125, -0.125]


@pytest.mark.parametrize("name", LOSSES)
def test_shares_of_micro_batches_add_up(name: str):
    logprobs, old, reference, advantages = torch.randn(4, 12, generator=torch.Generator().manual_seed(2)).double()
    lengths = [3, 2, 6, 1]
    owner = torch.repeat_interleave(torch.arange(4), torch.tensor(lengths))
    weights = vector(*token_weights(LOSSES[name].weighting, lengths, 8))[owner]

    def shares(part: slice) -> list[Tensor]:
        lp, o, r, a, w = logprobs[part], old[part], reference[part], advantages[part], weights[part]
        ratio, policy = surrogate_of(name, lp, o, a, owner[part] - owner[part][0])
        return [(w * policy.values).sum(), (w * ratio).sum(), kl_loss(lp, r, o, w), sft_loss(lp, w)]

    whole, first, second = (torch.stack(shares(s)) for s in (slice(0, 12), slice(0, 5), slice(5, 12)))
    torch.testing.assert_close(first + second, whole, rtol=1e-14, atol=1e-15)
