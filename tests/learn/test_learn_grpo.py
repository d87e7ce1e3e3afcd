"""Updates on a tiny random Qwen3: they learn, micro-batches do not matter, and the statistics mean what they say."""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import pytest
import torch
from learn_models import tiny
from transformers import PreTrainedModel

from pivotrl_cli.learn.batch import Batch, UpdateStats
from pivotrl_cli.learn.grpo import GrpoBatch, GrpoOptions, grpo_update, with_old_logprobs
from pivotrl_cli.learn.loss import LOSSES
from pivotrl_cli.learn.optimizer import Optimizer, UnusableGradient
from pivotrl_cli.learn.policy import completion_logprobs
from pivotrl_cli.learn.sft import sft_update

PROMPTS = [[5, 9, 2, 40, 11], [7, 7, 3]]
COMPLETIONS = [[[7, 1], [4, 4, 50, 1], [33, 1]], [[20, 21, 22, 1], [8, 1], [60]]]
ADVANTAGES = [[1.2, -0.4, -0.8], [0.5, -1.0, 0.5]]


def logprobs(model: PreTrainedModel, temperature: float = 1.0) -> list[list[list[float]]]:
    """Log-probabilities in the shape of the completions."""
    with torch.no_grad():
        flat = iter(completion_logprobs(model, PROMPTS, COMPLETIONS, temperature).logprobs.tolist())
    return [[[next(flat) for _ in completion] for completion in group] for group in COMPLETIONS]


def batch(model: PreTrainedModel, temperature: float = 1.0) -> GrpoBatch:
    return GrpoBatch(
        prompts=PROMPTS,
        completions=COMPLETIONS,
        sampler_logprobs=logprobs(model, temperature),
        advantages=ADVANTAGES,
    )


def weights(model: PreTrainedModel) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def test_an_update_raises_what_was_rewarded_and_lowers_the_rest():
    model = tiny("qwen3")
    before = batch(model)
    grpo_update(model, Optimizer(model), before, GrpoOptions(), 1e-3)
    for old, new, advantages in zip(before.sampler_logprobs, logprobs(model), ADVANTAGES, strict=True):
        for old_row, new_row, advantage in zip(old, new, advantages, strict=True):
            assert math.copysign(1, sum(new_row) - sum(old_row)) == math.copysign(1, advantage)


def test_updates_are_deterministic():
    results = []
    for _ in range(2):
        model = tiny("qwen3")
        stats = grpo_update(model, Optimizer(model), batch(model), GrpoOptions(), 1e-3)
        results.append((stats, weights(model)))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


def grpo_with_budget(token_budget: int, loss: str = "dapo") -> tuple[UpdateStats, torch.Tensor]:
    model, reference = tiny("qwen3", torch.float64), tiny("qwen3", torch.float64, seed=1)
    options = GrpoOptions(kl_coef=0.1, temperature=0.8, token_budget=token_budget, loss=loss, longest=6)
    optimizer, rollouts = Optimizer(model), batch(model, 0.8)
    grpo_update(model, optimizer, rollouts, options, 1e-2, reference)
    return grpo_update(model, optimizer, rollouts, options, 1e-2, reference), weights(model)


def sft_with_budget(token_budget: int) -> tuple[UpdateStats, torch.Tensor]:
    model = tiny("qwen3", torch.float64)
    demonstrations = Batch(prompts=PROMPTS, completions=[group[:1] for group in COMPLETIONS])
    stats = sft_update(model, Optimizer(model), demonstrations, 1e-2, token_budget=token_budget)
    return stats, weights(model)


@pytest.mark.parametrize("update", [sft_with_budget, *(partial(grpo_with_budget, loss=name) for name in LOSSES)])
@pytest.mark.parametrize("token_budget", [1, 12, 20])
def test_micro_batches_add_up_to_the_whole(update, token_budget: int):
    stats, after = update(token_budget)
    whole_stats, whole_after = update(10_000)
    expected = {name: value for name, value in dataclasses.asdict(whole_stats).items() if value is not None}
    actual = {name: value for name, value in dataclasses.asdict(stats).items() if value is not None}
    assert 0 < actual.pop("prefix_reuse") <= expected.pop("prefix_reuse")
    assert actual == pytest.approx(expected, rel=1e-5, abs=1e-12)
    torch.testing.assert_close(after, whole_after, rtol=1e-5, atol=1e-6)


def test_statistics_of_the_first_update():
    model = tiny("qwen3", torch.float64)
    rollouts = batch(model)
    stats = grpo_update(model, Optimizer(model), rollouts, GrpoOptions(), 1e-3)
    lengths = [[len(completion) for completion in group] for group in COMPLETIONS]
    weighted = sum(n * a for ns, row in zip(lengths, ADVANTAGES, strict=True) for n, a in zip(ns, row, strict=True))
    # On policy every ratio is 1, so the loss is minus the mean advantage over tokens.
    assert stats.loss == pytest.approx(-weighted / 15)
    assert (stats.ratio_mean, stats.clip_low, stats.clip_high) == (pytest.approx(1.0), 0.0, 0.0)
    assert stats.logprob_gap == pytest.approx(0.0, abs=1e-12)
    assert stats.n_completion_tokens == 15
    assert stats.kl is None
    assert 0 < stats.entropy < math.log(61)
    assert stats.grad_norm > 0


@pytest.mark.parametrize(
    ("loss", "weigh"),
    [("grpo", lambda n: 1 / (6 * n)), ("dapo", lambda n: 1 / 15), ("dr_grpo", lambda n: 1 / (6 * 8))],
)
def test_the_weighting_of_a_loss_by_hand(loss, weigh):
    model = tiny("qwen3", torch.float64)
    stats = grpo_update(model, Optimizer(model), batch(model), GrpoOptions(loss=loss, longest=8), 1e-3)
    pairs = [(len(c), a) for cs, row in zip(COMPLETIONS, ADVANTAGES, strict=True) for c, a in zip(cs, row, strict=True)]
    assert stats.loss == pytest.approx(-sum(n * weigh(n) * a for n, a in pairs))


def test_an_importance_cap_bounds_what_a_strange_sampler_can_do():
    model = tiny("qwen3", torch.float64)
    own = batch(model)
    doubted = [[[lp - math.log(3) for lp in row] for row in group] for group in own.sampler_logprobs]
    strange = dataclasses.replace(own, sampler_logprobs=doubted)  # a third as likely to the sampler
    plain = grpo_update(model, Optimizer(model), own, GrpoOptions(), 0.0)
    capped = grpo_update(model, Optimizer(model), strange, GrpoOptions(importance_cap=2.0), 0.0)
    assert (capped.loss, capped.grad_norm) == (pytest.approx(2 * plain.loss), pytest.approx(2 * plain.grad_norm))
    assert (capped.ratio_mean, capped.logprob_gap) == (pytest.approx(1.0), pytest.approx(math.log(3)))


def test_kept_log_probabilities_are_the_old_ones_of_later_updates():
    model = tiny("qwen3", torch.float64)
    options, optimizer, own = GrpoOptions(importance_cap=2.0), Optimizer(model), batch(model)
    kept = with_old_logprobs(model, own, options)
    assert kept.old_logprobs == [[pytest.approx(row) for row in group] for group in own.sampler_logprobs]
    grpo_update(model, optimizer, kept, options, 5e-3)
    assert grpo_update(model, optimizer, kept, options, 0.0).ratio_mean != pytest.approx(1.0, abs=1e-4)


def test_a_second_update_measures_its_ratio_against_the_sampler():
    model = tiny("qwen3", torch.float64)
    rollouts, optimizer = batch(model), Optimizer(model)
    grpo_update(model, optimizer, rollouts, GrpoOptions(), 5e-3)
    old = torch.tensor([lp for group in rollouts.sampler_logprobs for row in group for lp in row])
    now = torch.tensor([lp for group in logprobs(model) for row in group for lp in row])
    stats = grpo_update(model, optimizer, rollouts, GrpoOptions(), 0.0)
    advantages = torch.tensor(
        [a for g, row in zip(COMPLETIONS, ADVANTAGES, strict=True) for c, a in zip(g, row, strict=True) for _ in c]
    )
    ratio = (now - old).exp()
    assert stats.ratio_mean == pytest.approx(ratio.mean().item(), rel=1e-5)
    assert stats.logprob_gap == pytest.approx((now - old).abs().max().item(), rel=1e-5)
    assert stats.clip_low == pytest.approx(((ratio < 0.8) & (advantages < 0)).float().mean().item())
    assert stats.clip_high == pytest.approx(((ratio > 1.2) & (advantages > 0)).float().mean().item())
    assert min(stats.clip_low, stats.clip_high) > 0


def test_fully_clipped_tokens_stop_the_update():
    model = tiny("qwen3", torch.float64)
    shifted = [[[lp - math.copysign(1, a) for lp in row] for row, a in zip(group, advantages, strict=True)]
               for group, advantages in zip(logprobs(model), ADVANTAGES, strict=True)]  # fmt: skip
    rollouts = dataclasses.replace(batch(model), sampler_logprobs=shifted)
    stats = grpo_update(model, Optimizer(model), rollouts, GrpoOptions(), 1e-3)
    assert stats.clip_low + stats.clip_high == pytest.approx(1.0)
    assert stats.grad_norm == 0.0


def test_zero_advantages_leave_the_weights():
    model = tiny("qwen3")
    before = weights(model)
    rollouts = dataclasses.replace(batch(model), advantages=[[0.0] * 3, [0.0] * 3])
    stats = grpo_update(model, Optimizer(model), rollouts, GrpoOptions(), 1e-2)
    assert (stats.loss, stats.grad_norm) == (0.0, 0.0)
    assert torch.equal(weights(model), before)


def test_the_penalty_pulls_the_policy_to_the_reference():
    model, reference = tiny("qwen3", torch.float64), tiny("qwen3", torch.float64, seed=1)
    optimizer = Optimizer(model)
    divergences = []
    for _ in range(8):
        rollouts = dataclasses.replace(batch(model), advantages=[[0.0] * 3, [0.0] * 3])
        stats = grpo_update(model, optimizer, rollouts, GrpoOptions(kl_coef=1.0), 1e-3, reference)
        divergences.append(stats.kl)
    assert divergences[-1] < 0.7 * divergences[0]
    assert all(weight.grad is None for weight in reference.parameters())


def test_without_a_weight_there_is_no_reference_pass():
    model, reference = tiny("qwen3"), tiny("qwen3")
    reference.register_forward_pre_hook(lambda *_: pytest.fail("a reference pass"))
    reference.model.register_forward_pre_hook(lambda *_: pytest.fail("a reference pass"))
    assert grpo_update(model, Optimizer(model), batch(model), GrpoOptions(), 1e-3, reference).kl is None
    with pytest.raises(ValueError, match="no reference model"):
        grpo_update(model, Optimizer(model), batch(model), GrpoOptions(kl_coef=0.1), 1e-3)


def test_sft_learns_its_demonstrations():
    model = tiny("qwen3")
    optimizer = Optimizer(model)
    demonstrations = Batch(prompts=PROMPTS, completions=[group[:1] for group in COMPLETIONS])
    expected = -sum(sum(group[0]) for group in logprobs(model)) / 6
    losses = [sft_update(model, optimizer, demonstrations, 1e-2).loss for _ in range(20)]
    assert losses[0] == pytest.approx(expected, rel=1e-5)
    assert losses[-1] < 0.1 * losses[0]


def test_a_nan_stops_before_it_reaches_the_weights():
    model = tiny("qwen3")
    before = weights(model)
    rollouts = dataclasses.replace(batch(model), advantages=[[math.nan, 0.0, 0.0], [0.0] * 3])
    with pytest.raises(UnusableGradient):
        grpo_update(model, Optimizer(model), rollouts, GrpoOptions(), 1e-3)
    assert torch.equal(weights(model), before)


def test_batches_that_do_not_fit_together_are_refused():
    model = tiny("qwen3")
    rollouts = GrpoBatch(prompts=[[1]], completions=[[[2, 3]]], sampler_logprobs=[[[-1.0]]], advantages=[[1.0]])
    with pytest.raises(ValueError, match="its log-probabilities differ in length"):
        grpo_update(model, Optimizer(model), rollouts, GrpoOptions(), 1e-3)
    with pytest.raises(ValueError, match="no completion tokens"):
        sft_update(model, Optimizer(model), Batch(prompts=[], completions=[]), 1e-3)


def test_the_reuse_is_full_sequences_over_computed_positions():
    """Sequences have 7, 9, 7, 7, 5 and 4 tokens; a tree has prompts of 5 and 3, and of completions all but the last."""
    model = tiny("qwen3")
    for tree, positions in ((True, 5 + 3 + (1 + 3 + 1) + (3 + 1 + 0)), (False, 6 * 9)):
        stats = grpo_update(model, Optimizer(model), batch(model), GrpoOptions(tree=tree), 1e-3)
        assert stats.prefix_reuse == pytest.approx(39 / positions)
    assert stats.ratio_max >= stats.ratio_mean
    assert stats.sampler_kl >= 0
