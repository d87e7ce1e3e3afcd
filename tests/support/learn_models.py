"""Tiny random models for the tests of `learn`, and how their gradients are compared."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel

SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
ALTERNATING = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
HYBRID = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}


def tiny(kind: str, dtype: torch.dtype = torch.float32, seed: int = 0, **changes: object) -> PreTrainedModel:
    """A seeded model of this kind with weights large enough that its distributions are far from uniform."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**{**SIZES, **changes})).to(dtype).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model


KINDS: dict[str, Callable[[], PreTrainedModel]] = {
    "qwen2": lambda: tiny("qwen2"),
    "qwen3": lambda: tiny("qwen3"),
    "llama": lambda: tiny("llama"),
    "mistral": lambda: tiny("mistral", sliding_window=8),
    "mistral without a window": lambda: tiny("mistral", sliding_window=None),
    "qwen3 with windows": lambda: tiny("qwen3", use_sliding_window=True, **ALTERNATING),
    "gemma3": lambda: tiny("gemma3_text", **ALTERNATING),
    "qwen3_moe": lambda: tiny("qwen3_moe", **EXPERTS),
    "hybrid": lambda: tiny("qwen3_5_text", **HYBRID),
}
"""Architectures that take the prefix tree."""

RELATIVES: dict[str, Callable[[], PreTrainedModel]] = {
    "mixtral": lambda: tiny("mixtral", num_local_experts=4),
    "olmo3": lambda: tiny("olmo3", **ALTERNATING),
    "smollm3": lambda: tiny("smollm3"),
    "glm4_moe": lambda: tiny("glm4_moe", n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=16),
    "hybrid qwen3_5_moe": lambda: tiny("qwen3_5_moe_text", shared_expert_intermediate_size=16, **HYBRID, **EXPERTS),
    "hybrid qwen3_next": lambda: tiny("qwen3_next", shared_expert_intermediate_size=16, **HYBRID, **EXPERTS),
}
"""Others that take it, made of the same parts."""


def tokens(*lengths: int, seed: int = 0) -> list[list[int]]:
    """Random sequences of these lengths."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(61, (n,), generator=generator).tolist() for n in lengths]


def gradients(model: PreTrainedModel, logprobs: Tensor) -> dict[str, Tensor]:
    """Every trained parameter's gradient of a loss that weighs every token differently."""
    model.zero_grad()
    weights = torch.linspace(-1, 1, len(logprobs), dtype=logprobs.dtype, device=logprobs.device)
    (logprobs * weights).sum().backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.requires_grad}


def relative(actual: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of what was expected."""
    return ((actual - expected).norm() / expected.norm()).item()
