"""The prefix cache of the embedded engine: keys and values that one call leaves for the next.

An agent's next prompt is its last prompt and one more turn. Of each new prompt the engine computes only the tokens
after the longest prefix that it shares with a prompt of the last call. This requires that all layers attend to all
positions, because a token's keys and values then depend only on the tokens before it.

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
from pivotrl_cli.text import common_prefix_length

Layers = list[tuple[Tensor, Tensor]]
"""Keys and values [B, K, P, D] of each layer."""


@dataclass(frozen=True, slots=True)
class _Prompt:
    """One prompt: row `row` of a batch's layers, and the positions of its tokens in that row."""

    ids: list[int]
    layers: Layers
    row: int
    places: Tensor


class PrefixCache:
    """The prompts of the last call, sorted by their tokens."""

    def __init__(self, token_budget: int) -> None:
        self._token_budget = token_budget
        self._n_positions = 0
        self._old: list[_Prompt] = []
        self._new: list[_Prompt] = []

    def rotate(self) -> None:
        """Look prompts up among those added since the last rotation from now on, and forget the earlier ones."""
        self._old, self._new, self._n_positions = sorted(self._new, key=lambda prompt: prompt.ids), [], 0

    def add(self, prompts: Sequence[list[int]], mask: Tensor, cache: DynamicCache) -> None:
        """Add a batch's prompts, with the mask [B, P] of real tokens, if they fit into the token budget."""
        self._n_positions += mask.numel()
        if self._n_positions <= self._token_budget:
            layers = [keys_and_values(layer) for layer in cache.layers]
            places = [row.nonzero()[:, 0] for row in mask]
            self._new += [_Prompt(ids, layers, b, places[b]) for b, ids in enumerate(prompts)]

    def lookup(
        self, prompts: Sequence[list[int]], config: PretrainedConfig
    ) -> tuple[DynamicCache, Tensor, list[int]] | None:
        """The cached prefixes of the prompts: cache, mask [B, P] and length of each; None if nothing is cached.

        At least one token of each prompt is left to compute. Positions after a row's prefix are zero and masked.
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
                    for new, cached in zip(past, prompt.layers[layer], strict=True):
                        new[b, :, :n] = cached[prompt.row][:, places]
            cache.update(past[0], past[1], layer)
        mask = torch.zeros(len(prompts), max(lengths), dtype=torch.long, device=past[0].device)
        for b, n in enumerate(lengths):
            mask[b, :n] = 1
        return cache, mask, lengths

    def _find(self, ids: list[int]) -> tuple[_Prompt | None, int]:
        """The cached prompt with the longest common prefix, and that prefix's length: a neighbor in sorted order."""
        at = bisect_left(self._old, ids, key=lambda prompt: prompt.ids)
        near = self._old[max(at - 1, 0) : at + 1]
        lengths = [(common_prefix_length([prompt.ids, ids[:-1]]), prompt) for prompt in near]
        n, best = max(lengths, key=lambda pair: pair[0], default=(0, None))
        return (best, n) if n else (None, 0)
