"""Batches of prompts and completions, and gradient accumulation over their micro-batches; SFT and GRPO use both.

Token weights and counts are those of the whole step, so the sum over micro-batches is the gradient of the one large
batch. With several ranks each is given the whole batch and takes its share of the groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import reduce
from itertools import chain
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from pivotrl_cli.learn.distributed import all_gather, data_parallel_gather, rank_groups
from pivotrl_cli.learn.loss import Weighting, token_weights
from pivotrl_cli.learn.optimizer import Optimizer
from pivotrl_cli.learn.pack import Slice, pack_plain, pack_trees
from pivotrl_cli.learn.tree import Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Prompts with their completions; demonstrations have one completion each.

    Example: `Batch(prompts=[[5, 9, 2]], completions=[[[7, 1]]])`
    """

    prompts: list[Tokens]
    """Token ids [P][...] of the rendered states."""
    completions: list[list[Tokens]]
    """Token ids [P][G][...], end token included."""
    rollouts: list[list[int]] | None = None
    """Number [P][G] of the rollout that a completion is a turn of, where rollouts have several turns."""
    weights: list[list[float]] | None = None
    """Weight [P][G] of each token of a completion in the loss of the step; an update fills it in."""

    @property
    def n_tokens(self) -> int:
        """Completion tokens."""
        return sum(map(len, chain.from_iterable(self.completions)))

    def part(self, slices: list[Slice]) -> Self:
        """The sub-batch of a micro-batch."""
        per_completion: dict[str, Any] = {}
        for field in fields(self):
            values = getattr(self, field.name)
            if field.name != "prompts" and values is not None:
                per_completion[field.name] = [values[s.prompt][s.start : s.stop] for s in slices]
        return replace(self, prompts=[self.prompts[s.prompt] for s in slices], **per_completion)

    def with_token_weights(self, weighting: Weighting, longest: int = 0) -> Self:
        """With the token weights of a loss, see `token_weights`; the turns of a rollout count as one sequence."""
        lengths = [len(completion) for group in self.completions for completion in group]
        owners = range(len(lengths)) if self.rollouts is None else chain.from_iterable(self.rollouts)
        of_rollouts: dict[int, int] = {}
        pairs = list(zip(owners, lengths, strict=True))
        for rollout, n_tokens in pairs:
            of_rollouts[rollout] = of_rollouts.get(rollout, 0) + n_tokens
        if not sum(lengths):
            raise ValueError("the batch has no completion tokens")
        weights = token_weights(weighting, list(of_rollouts.values()), longest)
        by_rollout = dict(zip(of_rollouts, weights, strict=True))
        flat = iter(by_rollout[rollout] for rollout, _ in pairs)
        return replace(self, weights=[[next(flat) for _ in group] for group in self.completions])

    def with_zero_weights(self) -> Self:
        """With weight zero for every token."""
        return replace(self, weights=[[0.0] * len(group) for group in self.completions])

    def owner(self, like: Tensor) -> Tensor:
        """Number [T] of the completion that each token belongs to, from 0."""
        lengths = torch.tensor([len(completion) for group in self.completions for completion in group])
        return torch.repeat_interleave(torch.arange(len(lengths)), lengths).to(like.device)

    def per_completion(self, values: list[list[float]] | None, like: Tensor) -> Tensor:
        """Numbers of completions [P][G] as numbers of their tokens [T]."""
        return like.new_tensor(list(chain.from_iterable(values or [])))[self.owner(like)]

    def per_token(self, values: list[list[list[float]]], like: Tensor) -> Tensor:
        """Numbers of tokens [P][G][...] as [T]; raises ValueError where a completion has another length."""
        flat = [x for group in values for row in group for x in row]
        if [len(row) for group in values for row in group] != [len(c) for group in self.completions for c in group]:
            raise ValueError("a completion and its log-probabilities differ in length")
        return like.new_tensor(flat)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateStats:
    """Statistics of an update *before* it moved the weights, named as in the metrics table; null if not measured."""

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


B = TypeVar("B", bound=Batch)
Shares = dict[str, float]
"""A micro-batch's shares of the statistics of the step, by name."""


def accumulate_gradients(
    batch: B, loss_of: Callable[[B], tuple[Tensor, Shares]], optimizer: Optimizer, *, token_budget: int, tree: bool
) -> dict[str, Any]:
    """Add up the gradients of all micro-batches; returns the statistics of the whole step over all ranks."""
    totals: Shares = {}
    for part, counts in _micro_batches(batch, token_budget, tree):
        loss, shares = loss_of(part)
        torch.autograd.backward(loss)
        optimizer.accumulate()
        if counts:
            totals = _add(totals, shares | {"loss": loss.item()})
    totals = reduce(_add, data_parallel_gather(totals))
    pairs = zip(batch.prompts, batch.completions, strict=True)
    n_full = sum(len(prompt) + len(completion) for prompt, group in pairs for completion in group)
    reuse = n_full / totals.pop("n_positions")
    return totals | {"prefix_reuse": reuse, "n_completion_tokens": batch.n_tokens}


def _micro_batches(batch: B, token_budget: int, tree: bool) -> Iterator[tuple[B, bool]]:
    """This rank's micro-batches, longest first, and whether it counts in the statistics.

    Every forward is a collective, so a rank with fewer than another ends with short ones of weight zero.
    """
    lengths = [[len(completion) for completion in group] for group in batch.completions]
    mine = rank_groups(batch.prompts, lengths)
    if tree:
        packed = pack_trees(batch.prompts, mine, token_budget)
    else:
        packed = pack_plain([len(prompt) for prompt in batch.prompts], mine, token_budget)
    n_missing = max(all_gather(len(packed))) - len(packed)  # before any forward: every rank is here at the same time
    for slices in packed:
        yield batch.part(slices), True
    for _ in range(n_missing):
        yield batch.part([_shortest(batch)]).with_zero_weights(), False


def _shortest(batch: Batch) -> Slice:
    """The completion of fewest tokens, prompt included."""
    pairs = enumerate(zip(batch.prompts, batch.completions, strict=True))
    _, p, g = min((len(prompt) + len(c), p, g) for p, (prompt, group) in pairs for g, c in enumerate(group))
    return Slice(p, g, g + 1)


_MAXIMA = ("logprob_gap", "ratio_max")


def _add(totals: Shares, shares: Shares) -> Shares:
    """Sums so far with another micro-batch's shares; of statistics that are maxima, the larger."""
    added = dict(totals)
    for name, share in shares.items():
        added[name] = max(totals.get(name, share), share) if name in _MAXIMA else totals.get(name, 0.0) + share
    return added
