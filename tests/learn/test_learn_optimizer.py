"""Schedule by hand; clipping, decay, master weights and the stop on NaN on a layer of a few numbers."""

from __future__ import annotations

import math

import pytest
import torch

from pivotrl_cli.learn.optimizer import Optimizer, UnusableGradient, learning_rate


def layer(dtype: torch.dtype = torch.float32, weight: float = 1.0) -> torch.nn.Linear:
    result = torch.nn.Linear(2, 1, dtype=dtype)
    torch.nn.init.constant_(result.weight, weight)
    torch.nn.init.constant_(result.bias, weight)
    return result


def set_gradient(model: torch.nn.Linear, weight: list[float], bias: float) -> None:
    model.weight.grad = torch.tensor([weight], dtype=model.weight.dtype)
    model.bias.grad = torch.tensor([bias], dtype=model.bias.dtype)


def rates(schedule: str, warmup_steps: int, total_steps: int) -> list[float]:
    return [
        learning_rate(step, peak=1.0, schedule=schedule, warmup_steps=warmup_steps, total_steps=total_steps)
        for step in range(1, total_steps + 1)
    ]


def test_constant():
    assert rates("constant", 0, 3) == [1, 1, 1]


def test_warm_up_reaches_the_peak_after_its_last_step():
    assert rates("constant", 3, 5) == [0.25, 0.5, 0.75, 1, 1]


def test_cosine():
    half = math.sqrt(0.5) / 2
    assert rates("cosine", 0, 4) == pytest.approx([1, 0.5 + half, 0.5, 0.5 - half])
    assert rates("cosine", 1, 5) == pytest.approx([0.5, 1, 0.5 + half, 0.5, 0.5 - half])


def test_a_run_may_be_all_warm_up():
    assert rates("cosine", 3, 3) == [0.25, 0.5, 0.75]


def test_the_first_step_of_adamw_is_the_learning_rate():
    model = layer()
    optimizer = Optimizer(model, max_grad_norm=100)
    set_gradient(model, [3.0, -4.0], 12.0)
    assert optimizer.step(0.1) == 13.0
    assert torch.cat([model.weight[0], model.bias]).tolist() == pytest.approx([0.9, 1.1, 0.9])
    assert model.weight.grad is None


def test_clipping_scales_the_whole_gradient():
    # Two steps tell: after one, AdamW's direction does not depend on the gradient's size.
    moved = []
    for gradients, limit in (([[3.0, 4.0], [0.3, 0.4]], 1.0), ([[0.6, 0.8], [0.3, 0.4]], 100.0)):
        model = layer()
        optimizer = Optimizer(model, max_grad_norm=limit)
        for gradient in gradients:
            set_gradient(model, gradient, 0.0)
            optimizer.step(0.1)
        moved.append(model.weight.detach())
    torch.testing.assert_close(moved[0], moved[1])


def test_decay_pulls_matrices_only():
    model = layer()
    optimizer = Optimizer(model, weight_decay=0.5)
    set_gradient(model, [0.0, 0.0], 0.0)
    optimizer.step(0.1)
    assert model.weight.tolist() == [[pytest.approx(0.95)] * 2]
    assert model.bias.tolist() == [1.0]


def test_sixteen_bit_weights_move_by_steps_too_small_for_them():
    model = layer(torch.bfloat16)
    optimizer = Optimizer(model)
    for _ in range(40):
        set_gradient(model, [1.0, 1.0], 1.0)
        optimizer.step(1e-4)
    # 1 - 40 * 1e-4 = 0.996; one step alone rounds to 1, whose lower neighbour is 0.99609375
    assert model.weight.tolist() == [[0.99609375] * 2]
    assert model.weight.dtype == torch.bfloat16


def test_sixteen_bit_gradients_are_summed_in_float32():
    model = layer(torch.bfloat16)
    optimizer = Optimizer(model, max_grad_norm=1e9)
    for gradient in [256.0, 1.0, 1.0, 1.0]:
        set_gradient(model, [gradient, 0.0], 0.0)
        optimizer.accumulate()
    assert optimizer.step(0.0) == 259.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gradient_that_is_not_finite_stops_before_the_step(bad: float, dtype: torch.dtype):
    model = layer(dtype)
    optimizer = Optimizer(model)
    set_gradient(model, [bad, 1.0], 1.0)
    with pytest.raises(UnusableGradient, match=f"gradient norm is {bad}"):
        optimizer.step(0.1)
    assert model.weight.tolist() == [[1.0, 1.0]]
    set_gradient(model, [1.0, 1.0], 1.0)
    optimizer.step(0.125)
    assert model.weight.tolist() == [[0.875, 0.875]]


def test_frozen_parameters_stay():
    model = layer()
    model.bias.requires_grad_(False)
    optimizer = Optimizer(model, weight_decay=0.5)
    model.weight.grad = torch.ones(1, 2)
    optimizer.step(0.1)
    assert model.bias.tolist() == [1.0]
