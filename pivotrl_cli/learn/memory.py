"""Memory of training and sampling by formula, for dense decoders; docs/scaling.md has the measured errors."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedConfig

ELEMENT = {"float32": 4, "bfloat16": 2}
"""Bytes per number."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder: layers, width, inner width, heads of queries and of keys, head size, vocabulary."""

    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int

    @classmethod
    def of(cls, config: PreTrainedConfig) -> Shape | None:
        """The shape that a text config describes; None where its layers are not those of the formulas."""
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        experts = ("num_experts", "num_local_experts", "n_routed_experts")
        if kinds - {"full_attention", "sliding_attention"} or any(getattr(config, name, None) for name in experts):
            return None
        names = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")
        sizes = [n for name in names if isinstance(n := getattr(config, name, None), int)]
        if len(sizes) < len(names):
            return None
        layers, hidden, inner, heads, vocabulary = sizes
        kv_heads = getattr(config, "num_key_value_heads", None) or heads
        head = getattr(config, "head_dim", None) or hidden // heads
        return cls(layers, hidden, inner, heads, kv_heads, head, vocabulary)


def activation_bytes(shape: Shape, dtype: str, n_positions: int, n_completion_tokens: int) -> int:
    """What autograd keeps of a forward pass: layers and both ends by position, the head by completion token."""
    by_hidden, by_inner, by_heads, ends = (24, 16, 16, 8) if dtype == "float32" else (16, 8, 10, 6)
    attention = by_heads * shape.head * (shape.heads + shape.kv_heads)
    layer = by_hidden * shape.hidden + by_inner * shape.inner + attention
    head = (4 * shape.vocabulary + ELEMENT[dtype] * shape.hidden) * n_completion_tokens
    return (shape.layers * layer + ends * shape.hidden) * n_positions + head


def optimizer_bytes(n_parameters: int, dtype: str) -> int:
    """Weights, gradients and AdamW's state: four times 4 bytes; 16-bit weights and gradients come to those."""
    return n_parameters * (16 if dtype == "float32" else 20)


def cache_bytes(shape: Shape, dtype: str, n_positions: int) -> int:
    """Keys and values of all layers."""
    return 2 * shape.layers * shape.kv_heads * shape.head * ELEMENT[dtype] * n_positions
