"""One optimiser update: micro-batches, losses, gradient, step.

`grpo_update` serves PivotRL and `sft_update` its baseline; both count completion tokens over the whole batch first, so
that the sum over micro-batches is the gradient of the one large batch. To train several times on a batch, call
`grpo_update` again with the same batch: its sampler log-probabilities stay the old policy of the ratio, and from the
second update on the clip comes to bear.

Where several processes train, all are handed the whole batch, and each takes its groups. Left out: a separate pass for
old log-probabilities (the sampler's own are used; `logprob_gap` watches them).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pivotrl_cli.learn.distributed import each_rows, everyones, own_groups
from pivotrl_cli.learn.lora import adapters_off
from pivotrl_cli.learn.loss import LOSSES, importance_weights, k3, kl_loss, sft_loss, token_weights
from pivotrl_cli.learn.optimizer import Optimiser
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
    rollouts: list[list[int]] | None = None
    """Where rollouts have several turns, each with a prompt of its own: the number [P][G] of the rollout that a
    completion is a turn of."""
    weights: list[list[float]] | None = None
    """What a token of each rollout weighs in the step [P][G]; an update fills it in."""
    old_logprobs: list[list[list[float]]] | None = None
    """The trainer's own log-probabilities before the first update on the batch, where they are kept apart."""

    def part(self, slices: list[Slice]) -> GrpoBatch:
        """The sub-batch that a micro-batch names."""
        return GrpoBatch(
            prompts=[self.prompts[s.prompt] for s in slices],
            completions=[self.completions[s.prompt][s.start : s.stop] for s in slices],
            sampler_logprobs=[self.sampler_logprobs[s.prompt][s.start : s.stop] for s in slices],
            advantages=[self.advantages[s.prompt][s.start : s.stop] for s in slices],
            weights=self.weights and [self.weights[s.prompt][s.start : s.stop] for s in slices],
            old_logprobs=self.old_logprobs and [self.old_logprobs[s.prompt][s.start : s.stop] for s in slices],
        )

    def weighed(self, options: GrpoOptions) -> GrpoBatch:
        """With the weights of the loss that is asked for."""
        turns = [len(tokens) for group in self.completions for tokens in group]
        owners = list(range(len(turns))) if self.rollouts is None else [n for group in self.rollouts for n in group]
        lengths = dict.fromkeys(owners, 0)
        for owner, n_tokens in zip(owners, turns, strict=True):
            lengths[owner] += n_tokens
        weights = token_weights(LOSSES[options.loss].weighting, list(lengths.values()), options.longest)
        weight_of = dict(zip(lengths, weights, strict=True))
        flat = iter(weight_of[owner] for owner in owners)
        return replace(self, weights=[[next(flat) for _ in group] for group in self.completions])

    def weightless(self) -> GrpoBatch:
        """The same rollouts, none of which counts."""
        return replace(self, weights=[[0.0] * len(group) for group in self.completions])

    def flat(self, like: Tensor) -> FlatTokens:
        """One entry per completion token."""
        lengths = [len(tokens) for group in self.completions for tokens in group]
        if [len(logprobs) for group in self.sampler_logprobs for logprobs in group] != lengths:
            raise ValueError("a completion and its sampler log-probabilities differ in length")
        owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).to(like.device)
        return FlatTokens(
            sampler=like.new_tensor(_flat(self.sampler_logprobs)),
            advantages=like.new_tensor([a for group in self.advantages for a in group])[owner],
            weights=like.new_tensor([w for group in self.weights or [] for w in group])[owner],
            owner=owner,
            old=like.new_tensor(_flat(self.old_logprobs)) if self.old_logprobs is not None else None,
        )


@dataclass(frozen=True, slots=True)
class FlatTokens:
    """The completion tokens of a micro-batch [T], in the order of `completion_logprobs`."""

    sampler: Tensor
    """Log-probabilities when sampled."""
    advantages: Tensor
    weights: Tensor
    owner: Tensor
    """Number of the rollout, from 0."""
    old: Tensor | None
    """The trainer's log-probabilities before the first update."""


def _flat(nested: list[list[list[float]]]) -> list[float]:
    return [x for group in nested for row in group for x in row]


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
    loss: str = "dapo"
    """One of `LOSSES`."""
    longest: int = 256
    """Longest completion in tokens that could be sampled; the loss `dr_grpo` divides by it."""
    importance_cap: float | None = None
    """Largest weight for what the trainer's probabilities are over the sampler's; None takes the sampler's for old."""
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
    ratio_max: float | None = None
    """Largest such ratio."""
    logprob_gap: float | None = None
    """Largest |trainer - sampler| log-probability; means a mismatch only in the first update on a batch."""
    sampler_kl: float | None = None
    """Mean k3 estimate of KL(sampler || trainer) per token, in nats; a mismatch as above."""
    prefix_reuse: float | None = None
    """Tokens of the full sequences over the positions that were computed for them; padding makes it less than 1."""


def grpo_update(
    model: PreTrainedModel,
    optimiser: Optimiser,
    batch: GrpoBatch,
    options: GrpoOptions,
    learning_rate: float,
    reference: PreTrainedModel | None = None,
) -> UpdateStats:
    """One update with the clipped policy loss, plus the KL penalty where `kl_coef` > 0.

    Raises UnusableGradient before it would write a NaN into the weights.
    """
    if options.kl_coef > 0 and reference is None:
        raise ValueError("kl_coef is above 0 but there is no reference model")
    n_tokens = _n_tokens(batch.completions)
    totals: dict[str, float] = {}
    options, batch = replace(options, tree=_takes_tree(model, options.tree)), batch.weighed(options)
    for row in _packed(batch.prompts, batch.completions, options.token_budget, bool(options.tree)):
        part = batch.part(row.slices) if row.counts else batch.part(row.slices).weightless()
        stats = _grpo_backward(model, reference if options.kl_coef > 0 else None, part, options, n_tokens)
        totals = _added(totals, stats) if row.counts else totals
        optimiser.collect()
    totals = _with_reuse(reduce(_added, each_rows(totals)), batch.prompts, batch.completions)
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
    for row in _packed(batch.prompts, [[completion] for completion in batch.completions], token_budget, tree):
        prompts = [batch.prompts[s.prompt] for s in row.slices]
        completions = [[batch.completions[s.prompt]] for s in row.slices]
        scores = completion_logprobs(model, prompts, completions, tree=tree)
        loss = sft_loss(scores.logprobs, torch.full_like(scores.logprobs, row.counts / n_tokens))
        torch.autograd.backward(loss)
        optimiser.collect()
        shares = {"loss": loss.item(), "entropy": scores.entropies.sum().item() / n_tokens}
        totals = _added(totals, shares | {"n_positions": scores.n_positions}) if row.counts else totals
    totals = reduce(_added, each_rows(totals))
    totals = _with_reuse(totals, batch.prompts, [[completion] for completion in batch.completions])
    return UpdateStats(grad_norm=optimiser.step(learning_rate), n_completion_tokens=n_tokens, **totals)


def _n_tokens(completions: list[list[list[int]]]) -> int:
    """Completion tokens of the whole step."""
    n_tokens = sum(len(completion) for group in completions for completion in group)
    if n_tokens == 0:
        raise ValueError("the batch has no completion tokens")
    return n_tokens


def _takes_tree(model: PreTrainedModel, tree: bool | None) -> bool:
    return plain_reason(model) is None if tree is None else tree


@dataclass(frozen=True, slots=True)
class _Row:
    """A micro-batch; one that does not count only keeps step with another process."""

    slices: list[Slice]
    counts: bool


def _packed(prompts: list[list[int]], completions: list[list[list[int]]], token_budget: int, tree: bool) -> list[_Row]:
    """This process's micro-batches of rollouts under the budget, longest first, as many as any process has."""
    lengths = [[len(completion) for completion in group] for group in completions]
    own = own_groups(prompts, lengths)
    if tree:
        packed = pack_trees(prompts, own, token_budget)
    else:
        packed = pack_plain([len(prompt) for prompt in prompts], own, token_budget)
    n_idle = max(everyones(len(packed))) - len(packed)
    return [_Row(slices, True) for slices in packed] + [_Row([_shortest(prompts, lengths)], False)] * n_idle


def _shortest(prompts: list[list[int]], lengths: list[list[int]]) -> Slice:
    """The rollout of fewest tokens."""
    every = ((len(prompts[p]) + n, p, g) for p, group in enumerate(lengths) for g, n in enumerate(group))
    _, p, g = min(every)
    return Slice(p, g, g + 1)


def _grpo_backward(
    model: PreTrainedModel, reference: PreTrainedModel | None, part: GrpoBatch, options: GrpoOptions, n_tokens: int
) -> dict[str, float]:
    """Add one micro-batch's gradient; returns its shares of the step's statistics."""
    scores = completion_logprobs(model, part.prompts, part.completions, options.temperature, tree=options.tree)
    tokens = part.flat(scores.logprobs)
    old, weights = _old_and_weights(scores.logprobs.detach(), tokens, options)
    surrogate = LOSSES[options.loss].surrogate(
        scores.logprobs, old, tokens.advantages, tokens.owner, options.clip_low, options.clip_high
    )
    loss, stats = -(weights * surrogate.values).sum(), {}
    if reference is not None:
        frozen = _frozen_logprobs(reference, part, options).to(scores.logprobs.device)
        loss = loss + options.kl_coef * kl_loss(scores.logprobs, frozen, old, weights)
        stats["kl"] = k3(scores.logprobs.detach(), frozen).sum().item() / n_tokens
    torch.autograd.backward(loss)
    return stats | {
        "loss": loss.item(),
        "entropy": scores.entropies.sum().item() / n_tokens,
        "ratio_mean": surrogate.ratio.sum().item() / n_tokens,
        "ratio_max": surrogate.ratio.max().item(),
        "clip_low": surrogate.cut_low.sum().item() / n_tokens,
        "clip_high": surrogate.cut_high.sum().item() / n_tokens,
        "logprob_gap": (scores.logprobs.detach() - tokens.sampler).abs().max().item(),
        "sampler_kl": k3(tokens.sampler, scores.logprobs.detach()).sum().item() / n_tokens,
        "n_positions": scores.n_positions,
    }


def _old_and_weights(logprobs: Tensor, tokens: FlatTokens, options: GrpoOptions) -> tuple[Tensor, Tensor]:
    """The log-probabilities that the ratio compares with, and what each token weighs."""
    if options.importance_cap is None:
        return tokens.sampler, tokens.weights
    old = logprobs if tokens.old is None else tokens.old
    return old, tokens.weights * importance_weights(old, tokens.sampler, options.importance_cap)


@torch.no_grad()
def with_old_logprobs(model: PreTrainedModel, batch: GrpoBatch, options: GrpoOptions) -> GrpoBatch:
    """The batch with what the model says of it now, for several updates under an importance cap."""
    scores = [
        completion_logprobs(model, [prompt], [completions], options.temperature, tree=options.tree).logprobs.tolist()
        for prompt, completions in zip(batch.prompts, batch.completions, strict=True)
    ]
    flat = [iter(group) for group in scores]
    pairs = zip(flat, batch.completions, strict=True)
    return replace(batch, old_logprobs=[[[next(x) for _ in tokens] for tokens in group] for x, group in pairs])


@torch.no_grad()
def _frozen_logprobs(reference: PreTrainedModel, part: GrpoBatch, options: GrpoOptions) -> Tensor:
    with adapters_off(reference):
        scores = completion_logprobs(reference, part.prompts, part.completions, options.temperature, tree=options.tree)
    return scores.logprobs


_LARGEST = ("logprob_gap", "ratio_max")


def _added(totals: dict[str, float], shares: dict[str, float]) -> dict[str, float]:
    """Shares of a micro-batch on top of the totals so far; of what is a largest value, the largest."""
    joined = dict(totals)
    for name, share in shares.items():
        joined[name] = max(totals.get(name, share), share) if name in _LARGEST else totals.get(name, 0.0) + share
    return joined


def _with_reuse(
    totals: dict[str, float], prompts: list[list[int]], completions: list[list[list[int]]]
) -> dict[str, float]:
    """How often a computed position served, in place of how many there were."""
    sequences = (len(p) + len(c) for p, group in zip(prompts, completions, strict=True) for c in group)
    others = {name: total for name, total in totals.items() if name != "n_positions"}
    return others | {"prefix_reuse": sum(sequences) / totals["n_positions"]}
