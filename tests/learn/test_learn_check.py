"""The self-check passes what is right, in every format, and stops what leaks between leaves."""

from __future__ import annotations

import pytest
import torch
from learn_models import HYBRID, KINDS, tiny
from transformers import AutoModelForCausalLM

from pivotrl_cli.learn import policy
from pivotrl_cli.learn.self_check import TreeMismatch, self_check
from pivotrl_cli.model.folder import resolve

FORMATS = [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_tests_find_exact_passes(kind: str, dtype: torch.dtype):
    model = KINDS[kind]().to(dtype)
    self_check(model)
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize("dtype", FORMATS)
def test_the_shipped_policy_passes(dtype: torch.dtype):
    model = AutoModelForCausalLM.from_pretrained(resolve("desk"), dtype=dtype)
    self_check(model)
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize("dtype", FORMATS)
def test_a_recurrent_state_that_runs_from_leaf_to_leaf_is_found(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(policy, "wrap_linear_attention", lambda _model: None)
    with pytest.raises(TreeMismatch, match="log-probabilities of the prefix tree differ"):
        self_check(tiny("qwen3_5_text", dtype, **HYBRID))


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("window", [8, 60])
def test_a_window_that_is_not_heeded_is_found(dtype: torch.dtype, window: int, monkeypatch: pytest.MonkeyPatch):
    model = tiny("mistral", dtype, sliding_window=window)
    self_check(model)
    monkeypatch.setattr(policy, "TreePlan", Windowless)
    with pytest.raises(TreeMismatch):
        self_check(model)


class Windowless(policy.TreePlan):
    """A plan that takes every layer for one without a window."""

    def calls(self, _window: int | None):
        return super().calls(None)
