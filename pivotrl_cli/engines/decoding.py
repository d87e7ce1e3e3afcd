"""Decoding n rows after each prompt, with the prompt's keys and values stored once for all n.

transformers' cache holds a copy of the prompt per row and copies all of it at every token. Here the prompt's part stays
as prefill left it; a row adds only its own few keys, and one softmax runs over both. This uses transformers' public
attention interface, for models whose layers all attend to all positions; others decode over the repeated cache, or
without a cache where the model's own is not right.

Axes: B prompts, N rows of one prompt, K key-value heads, Q query heads per key-value head, P prompt positions,
C own positions, D head size.
"""

from __future__ import annotations

import inspect
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import AttentionInterface, DynamicCache, PreTrainedConfig, PreTrainedModel

_NAME = "pivotrl_shared_prompts"
_PLAIN_ATTENTION = frozenset({"qwen2", "qwen3", "qwen3_moe", "llama", "mistral"})
"""Model types with plain scaled dot product attention (no sinks, no soft caps)."""
_ALIBI = frozenset({"mpt", "bloom"})
_CACHE_ARGUMENTS = ("cache", "cache_params", "past_key_values")
"""Names of forward's argument: transformers 5.22 and later, state space models before, all others before."""


class Decoder(Protocol):
    """Decodes rows step by step; row i belongs to prompt i // n."""

    def step(self, tokens: Tensor) -> Tensor:
        """Feed one token [rows] to each row; returns the next logits [rows, vocabulary]."""
        ...

    def keep(self, alive: list[int]) -> list[int]:
        """Drop finished rows where that saves work; returns the rows that stay, `alive` among them."""
        ...


def open_decoder(model: PreTrainedModel, cache: DynamicCache, mask: Tensor, n: int, max_new_tokens: int) -> Decoder:
    """A decoder after prefill: `cache` and `mask` [B, P] are those of the distinct prompts."""
    if attends_to_everything(model):
        return SharedPrompts(model, cache, mask, n, max_new_tokens)
    return RepeatedCache(model, cache, mask, n)


def attends_to_everything(model: PreTrainedModel) -> bool:
    """Whether every layer is ordinary attention over all positions."""
    config = model.config.get_text_config()
    return config.model_type in _PLAIN_ATTENTION and sees_places(config) is None


def sees_places(config: PreTrainedConfig) -> str | None:
    """Layers that count places of the cache, so that padding inside a row changes its logits; None without such."""
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and set(kinds) != {"full_attention"}:
        return f"layers with {', '.join(sorted(set(kinds) - {'full_attention'}))}"
    windowed = getattr(config, "sliding_window", None) is not None and getattr(config, "use_sliding_window", True)
    if kinds is None and windowed:
        return "sliding-window attention"
    if getattr(config, "attention_chunk_size", None) is not None:
        return "attention in chunks"
    return "ALiBi" if config.model_type in _ALIBI or getattr(config, "alibi", False) else None


def last_logits(model: PreTrainedModel, cache: DynamicCache | None, n: int = 1, **inputs: Tensor) -> Tensor:
    """Logits [rows, n, vocabulary] of the last n positions; a cache is read and takes in all of them."""
    accepted = inspect.signature(model.forward).parameters
    options: dict[str, Any] = {"logits_to_keep": n} if "logits_to_keep" in accepted else {}
    if cache is not None:
        options |= {next((name for name in _CACHE_ARGUMENTS if name in accepted), "past_key_values"): cache}
    logits: Tensor = model(use_cache=cache is not None, **inputs, **options).logits
    return logits[:, -n:]


class RepeatedCache:
    """Every row has the whole prompt in its cache: keys and values, states of recurrent layers and convolutions."""

    def __init__(self, model: PreTrainedModel, cache: DynamicCache, mask: Tensor, n: int) -> None:
        cache.reorder_cache(torch.arange(len(mask), device=mask.device).repeat_interleave(n))  # type: ignore[arg-type]
        self._model, self._cache = model, cache
        self._mask = mask.repeat_interleave(n, dim=0)
        self._position = self._mask.sum(-1, keepdim=True)

    def step(self, tokens: Tensor) -> Tensor:
        """One forward over the repeated cache."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=-1)
        inputs: Any = {"input_ids": tokens[:, None], "attention_mask": self._mask, "position_ids": self._position}
        self._position = self._position + 1
        return last_logits(self._model, self._cache, **inputs)[:, -1]

    def keep(self, alive: list[int]) -> list[int]:
        """Drop finished rows once they are half of all; each time copies the cache."""
        if 2 * len(alive) > len(self._mask):
            return list(range(len(self._mask)))
        index = torch.tensor(alive, device=self._mask.device)
        self._cache.reorder_cache(index)  # type: ignore[arg-type]
        self._mask, self._position = self._mask[index], self._position[index]
        return alive


class Uncached:
    """Every token computes its whole row again; right for any model, and slow."""

    def __init__(self, model: PreTrainedModel, prompt: Tensor, n: int) -> None:
        self._model, self._rows = model, prompt.expand(n, -1)

    def step(self, tokens: Tensor) -> Tensor:
        """One forward over the rows."""
        self._rows = torch.cat([self._rows, tokens[:, None]], dim=-1)
        return last_logits(self._model, None, input_ids=self._rows)[:, -1]

    def keep(self, alive: list[int]) -> list[int]:
        """Drop finished rows."""
        self._rows = self._rows[torch.tensor(alive, device=self._rows.device)]
        return alive


class SharedPrompts:
    """Keys and values of each prompt once, and of each row's own tokens."""

    def __init__(
        self, model: PreTrainedModel, cache: DynamicCache, mask_B_P: Tensor, n: int, max_new_tokens: int
    ) -> None:
        self._model, self._n = model, n
        self._layers = [_Layer(*keys_and_values(layer), n, max_new_tokens) for layer in cache.layers]
        self._length_B = mask_B_P.sum(-1)
        bias = torch.zeros(mask_B_P.shape, dtype=self._layers[0].keys.dtype, device=mask_B_P.device)
        self._bias_B_P = bias.masked_fill(mask_B_P == 0, float("-inf"))
        self.n_own = 0

    def step(self, tokens: Tensor) -> Tensor:
        """One forward in which attention reads the shared prompts."""
        position = (self._length_B + self.n_own).repeat_interleave(self._n)[:, None]
        before = self._model.config._attn_implementation
        self._model.set_attn_implementation(_NAME)
        try:
            out = self._model(input_ids=tokens[:, None], position_ids=position, use_cache=False, shared_prompts=self)
        finally:
            self._model.set_attn_implementation(before)
        self.n_own += 1
        logits: Tensor = out.logits[:, -1]
        return logits

    def keep(self, alive: list[int]) -> list[int]:
        """Drop prompts whose rows are all finished, once they are a quarter of the remaining prompts."""
        prompts = sorted({row // self._n for row in alive})
        if 4 * len(prompts) > 3 * len(self._length_B):
            return list(range(len(self._length_B) * self._n))
        index = torch.tensor(prompts, device=self._length_B.device)
        self._length_B, self._bias_B_P = self._length_B[index], self._bias_B_P[index]
        for layer in self._layers:
            layer.select(index)
        return [prompt * self._n + i for prompt in prompts for i in range(self._n)]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Attention of one new token per row: query [B*N, K*Q, 1, D], key and value [B*N, K, 1, D]."""
        rows, heads, _, size = query.shape
        n_kv = key.shape[1]
        own_keys, own_values = self._layers[layer].append(self.n_own, key, value)
        query_B_K_N_Q_D = query.view(-1, self._n, n_kv, heads // n_kv, size).transpose(1, 2) * scaling
        shape = query_B_K_N_Q_D.shape[:-1]
        prompt = query_B_K_N_Q_D.flatten(2, 3) @ self._layers[layer].keys.transpose(-1, -2)
        prompt = (prompt + self._bias_B_P[:, None, None]).view(*shape, -1)
        own = query_B_K_N_Q_D @ own_keys.transpose(-1, -2)
        weights = torch.cat([prompt, own], dim=-1).softmax(-1, dtype=torch.float32).to(query.dtype)
        over_prompt, over_own = torch.split(weights, [prompt.shape[-1], own.shape[-1]], dim=-1)
        mixed: Tensor = (over_prompt.flatten(2, 3) @ self._layers[layer].values).view(*shape, size)
        return (mixed + over_own @ own_values).transpose(1, 2).reshape(rows, 1, heads, size)


class _Layer:
    """Keys and values of one layer: the prompts' [B, K, P, D], and room for the rows' own [B, K, N, C, D]."""

    def __init__(self, keys: Tensor, values: Tensor, n: int, max_new_tokens: int) -> None:
        self.keys, self.values = keys.contiguous(), values.contiguous()
        prompts, heads, _, size = keys.shape
        self._own = keys.new_empty(2, prompts, heads, n, max_new_tokens, size)

    def append(self, place: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Put one new key and value [B*N, K, 1, D] at `place`; returns all own ones so far, [B, K, N, C, D]."""
        for own, new in zip(self._own, (key, value), strict=True):
            own[:, :, :, place] = new.view(-1, own.shape[2], new.shape[1], new.shape[-1]).transpose(1, 2)
        return self._own[0, :, :, :, : place + 1], self._own[1, :, :, :, : place + 1]

    def select(self, prompts: Tensor) -> None:
        self.keys, self.values, self._own = self.keys[prompts], self.values[prompts], self._own[:, prompts]


def keys_and_values(layer: Any) -> tuple[Tensor, Tensor]:
    """Keys and values of one layer of a cache, [B, K, P, D] each."""
    return layer.keys, layer.values


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    shared_prompts: SharedPrompts,
    **_: Any,
) -> tuple[Tensor, None]:
    return shared_prompts.attend(int(module.layer_idx), query, key, value, scaling), None  # type: ignore[arg-type]


AttentionInterface.register(_NAME, _attention)
