"""Keys and values that a call of the embedded engine leaves for the next one, where states go on from each other.

An agent's next prompt is its last one and a turn more. Of each new prompt the engine computes only what no prompt of
the last call begins with. It holds for models whose layers all attend to everything, since there what a token's keys
and values are depends on the tokens before it alone.

Axes: B prompts, K key-value heads, P positions, D head size.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PretrainedConfig

from pivotrl_cli.engines.decoding import keys_and_values

Layers = list[tuple[Tensor, Tensor]]
"""Keys and values [B, K, P, D] of each layer."""


@dataclass(frozen=True, slots=True)
class _Prompt:
    """One prompt: row `row` of a batch's layers, and where in it its tokens stand."""

    ids: list[int]
    layers: Layers
    row: int
    places: Tensor


class KeptPrompts:
    """The prompts of the last call, in the order of their tokens."""

    def __init__(self, token_budget: int) -> None:
        self._token_budget = token_budget
        self._n_positions = 0
        self._old: list[_Prompt] = []
        self._new: list[_Prompt] = []

    def turn(self) -> None:
        """From now on, look prompts up among those that were added since the last turn; earlier ones are forgotten."""
        self._old, self._new, self._n_positions = sorted(self._new, key=lambda prompt: prompt.ids), [], 0

    def add(self, prompts: Sequence[list[int]], mask: Tensor, cache: DynamicCache) -> None:
        """Leave a batch's prompts, with the mask [B, P] of real tokens, as far as they fit into the token budget."""
        self._n_positions += mask.numel()
        if self._n_positions <= self._token_budget:
            layers = [keys_and_values(layer) for layer in cache.layers]
            places = [row.nonzero()[:, 0] for row in mask]
            self._new += [_Prompt(ids, layers, b, places[b]) for b, ids in enumerate(prompts)]

    def cache(
        self, prompts: Sequence[list[int]], config: PretrainedConfig
    ) -> tuple[DynamicCache, Tensor, list[int]] | None:
        """What is known of the prompts: cache, mask [B, P] and how many tokens of each; null if nothing is.

        At least one token of each prompt is left to compute. Positions behind a row's own are zero and masked.
        """
        found = [self._find(ids) for ids in prompts]
        lengths = [n for _, n in found]
        if not any(lengths):
            return None
        cache = DynamicCache(config=config)
        for layer, (keys, _) in enumerate(self._old[0].layers):
            past = [keys.new_zeros(len(prompts), keys.shape[1], max(lengths), keys.shape[3]) for _ in range(2)]
            for b, (prompt, n) in enumerate(found):
                if prompt is not None:
                    places = prompt.places[:n]
                    for own, kept in zip(past, prompt.layers[layer], strict=True):
                        own[b, :, :n] = kept[prompt.row][:, places]
            cache.update(past[0], past[1], layer)
        mask = torch.zeros(len(prompts), max(lengths), dtype=torch.long, device=past[0].device)
        for b, n in enumerate(lengths):
            mask[b, :n] = 1
        return cache, mask, lengths

    def _find(self, ids: list[int]) -> tuple[_Prompt | None, int]:
        """The kept prompt that agrees with this one for longest, and for how many tokens: a neighbour in the order."""
        at = bisect_left(self._old, ids, key=lambda prompt: prompt.ids)
        near = self._old[max(at - 1, 0) : at + 1]
        agree = [(common_prefix(prompt.ids, ids[:-1]), prompt) for prompt in near]
        n, best = max(agree, key=lambda pair: pair[0], default=(0, None))
        return (best, n) if n else (None, 0)


def common_prefix(a: list[int], b: list[int]) -> int:
    """Tokens that both begin with."""
    shorter = min(len(a), len(b))
    return next((i for i in range(shorter) if a[i] != b[i]), shorter)
