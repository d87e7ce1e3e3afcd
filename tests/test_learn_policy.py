"""Shared against plain, and both against one sequence at a time through the model's own forward."""

from __future__ import annotations

import pytest
import torch
from learn_models import tiny
from torch import Tensor
from transformers import PreTrainedModel

from pivotrl_cli.learn import policy
from pivotrl_cli.learn.policy import completion_logprobs, plain_reason


def tokens(*shape: int, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(61, (n,), generator=generator).tolist() for n in shape]


PROMPTS = tokens(17, 5, 30)
EQUAL_GROUPS = [tokens(4, 1, 9), tokens(2, 7, 3, seed=1), tokens(1, 12, 5, seed=2)]
RAGGED_GROUPS = [tokens(4, 1, 9), tokens(2, seed=1), tokens(1, 12, seed=2)]
SINGLE_TOKENS = [tokens(1, 1), tokens(1, 1, seed=1), tokens(1, 1, seed=2)]


def one_by_one(
    model: PreTrainedModel, prompts: list[list[int]], groups: list[list[list[int]]], temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies, with nothing padded, cached or batched."""
    logprobs, entropies = [], []
    for prompt, group in zip(prompts, groups, strict=True):
        for completion in group:
            logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1] / temperature
            table = logits.log_softmax(-1)
            logprobs.append(table[torch.arange(len(completion)), torch.tensor(completion)])
            entropies.append(-(table.exp() * table).sum(-1))
    return torch.cat(logprobs), torch.cat(entropies)


def gradients(model: PreTrainedModel, logprobs: Tensor) -> dict[str, Tensor]:
    """Every parameter's gradient of a loss that weighs every token differently."""
    model.zero_grad()
    (logprobs * torch.linspace(-1, 1, len(logprobs), dtype=logprobs.dtype)).sum().backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters()}


def relative(actual: Tensor, expected: Tensor) -> float:
    return ((actual - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("kind", ["qwen3", "llama"])
@pytest.mark.parametrize("groups", [EQUAL_GROUPS, RAGGED_GROUPS, SINGLE_TOKENS], ids=["equal", "ragged", "single"])
def test_shared_is_plain_is_one_by_one(kind: str, groups: list[list[list[int]]]):
    # In float64 it would be no sharper: transformers computes RMSNorm in float32 whatever the weights are.
    model, tolerance = tiny(kind), 1e-5
    expected, expected_entropies = one_by_one(model, PROMPTS, groups, temperature=0.7)
    expected_gradients = gradients(model, expected)
    for shared in (True, False):
        scores = completion_logprobs(model, PROMPTS, groups, 0.7, shared=shared)
        assert relative(scores.logprobs, expected) < tolerance
        assert relative(scores.entropies, expected_entropies) < tolerance
        actual_gradients = gradients(model, scores.logprobs)
        assert actual_gradients.keys() == expected_gradients.keys()
        for name, expected_gradient in expected_gradients.items():
            assert relative(actual_gradients[name], expected_gradient) < tolerance, name


def test_one_prompt_with_one_rollout():
    model = tiny("qwen3", torch.float64)
    groups = [tokens(6, seed=3)]
    expected, _ = one_by_one(model, PROMPTS[:1], groups, 1.0)
    torch.testing.assert_close(completion_logprobs(model, PROMPTS[:1], groups).logprobs, expected)


def test_head_in_chunks_is_the_head_at_once(monkeypatch: pytest.MonkeyPatch):
    model = tiny("qwen3", torch.float64)
    whole = completion_logprobs(model, PROMPTS, EQUAL_GROUPS)
    whole_gradients = gradients(model, whole.logprobs)
    monkeypatch.setattr(policy, "HEAD_ELEMENTS", 61 * 5)
    chunked = completion_logprobs(model, PROMPTS, EQUAL_GROUPS)
    torch.testing.assert_close(chunked.logprobs, whole.logprobs)
    torch.testing.assert_close(chunked.entropies, whole.entropies)
    torch.testing.assert_close(gradients(model, chunked.logprobs), whole_gradients)


def test_only_completion_positions_reach_the_head():
    model = tiny("qwen3")
    seen: list[int] = []
    model.lm_head.register_forward_hook(lambda _head, inputs, _output: seen.append(inputs[0].shape[0]))
    scores = completion_logprobs(model, PROMPTS, EQUAL_GROUPS)
    assert seen == [len(scores.logprobs)]


def test_computed_positions_are_prompts_plus_completions():
    model = tiny("qwen3")
    seen: list[tuple[int, ...]] = []
    model.model.embed_tokens.register_forward_hook(lambda _layer, inputs, _output: seen.append(tuple(inputs[0].shape)))
    completion_logprobs(model, PROMPTS, EQUAL_GROUPS)
    assert seen == [(3, 30), (9, 11)]


def test_bfloat16_scores_come_in_float32():
    scores = completion_logprobs(tiny("qwen3", torch.bfloat16), PROMPTS, EQUAL_GROUPS)
    assert scores.logprobs.dtype == scores.entropies.dtype == torch.float32


@pytest.mark.parametrize("broken", [([], []), ([[]], [[[1]]]), ([[1]], [[[]]]), ([[1]], [[]])])
def test_nothing_to_score(broken: tuple[list[list[int]], list[list[list[int]]]]):
    with pytest.raises(ValueError, match="nothing to score"):
        completion_logprobs(tiny("qwen3"), *broken)


@pytest.mark.parametrize("kind", ["qwen3", "llama", "qwen3_moe", "mistral"])
def test_full_attention_is_shared(kind: str):
    assert plain_reason(tiny(kind, **({"sliding_window": None} if kind == "mistral" else {}))) is None


WINDOWED = {"sliding_window": 8}
QWEN3_WINDOWED = {**WINDOWED, "use_sliding_window": True, "layer_types": ["full_attention", "sliding_attention"]}
HYBRID = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("qwen3", QWEN3_WINDOWED, "not every layer is full attention: DynamicSlidingWindowLayer"),
        ("mistral", WINDOWED, "not every layer is full attention: DynamicSlidingWindowLayer"),
        ("granite", {"logits_scaling": 4.0}, "the head scales its logits: logits_scaling"),
        ("qwen3_5_text", HYBRID, "the model keeps a recurrent state"),
    ],
)
def test_everything_else_is_plain_and_still_right(kind: str, changes: dict[str, object], reason: str):
    model = tiny(kind, torch.float64, **changes)
    assert plain_reason(model) == reason
    expected, _ = one_by_one(model, PROMPTS, RAGGED_GROUPS, 1.0)
    # The hybrid's reference kernel computes in float32 whatever the weights are.
    tolerance = 1e-4 if kind == "qwen3_5_text" else 1e-13
    assert relative(completion_logprobs(model, PROMPTS, RAGGED_GROUPS).logprobs, expected) < tolerance


def test_gradient_checkpointing_is_plain():
    model = tiny("qwen3")
    model.gradient_checkpointing_enable()
    assert plain_reason(model) is None
    assert plain_reason(model.train()) == "gradient checkpointing is on"
