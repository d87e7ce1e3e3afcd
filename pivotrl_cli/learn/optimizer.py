"""AdamW with float32 master weights, the learning-rate schedule, and the stop on a gradient that is not finite.

Master weights are kept for 16-bit parameters only. A bfloat16 weight has eight significant bits, so an update below
1/512 of its size rounds away: at the learning rates of reinforcement learning nearly all of them would. Gradients of
micro-batches are summed in float32 for the same reason. The norm of a sharded gradient is that of the full one, so all
ranks clip and skip alike. Left out: fused optimizers, other schedules.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from pivotrl_cli.learn.distributed import full_tensor, gather_to_rank0, shard_like

BETAS = (0.9, 0.999)
"""Decay of AdamW's first and second moment, as in the recipes of NeMo RL."""


class UnusableGradient(ArithmeticError):
    """The gradient's norm is not finite, or too large; weights and optimizer are as they were before the step."""


def learning_rate(
    step: int, *, peak: float, schedule: Literal["constant", "cosine"], warmup_steps: int, total_steps: int
) -> float:
    """Learning rate of a step; steps count from 1.

    Warm-up rises linearly over `warmup_steps` and the step after it is the first at the peak. Cosine falls from there
    towards zero, which it would reach one step after the last: every step moves the weights.

    Example: peak 1.0, cosine, 1 warm-up step, 5 steps: 0.5, 1.0, 0.854, 0.5, 0.146.
    """
    if step <= warmup_steps:
        return peak * step / (warmup_steps + 1)
    if schedule == "constant":
        return peak
    progress = (step - warmup_steps - 1) / (total_steps - warmup_steps)
    return peak * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


class Optimizer:
    """AdamW over a model's trainable parameters: `accumulate` after every backward pass, `step` after the last one."""

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        weight_decay: float = 0.0,
        max_grad_norm: float = 1.0,
        skip_grad_norm: float | None = None,
    ) -> None:
        self.max_grad_norm = max_grad_norm
        self.skip_grad_norm = math.inf if skip_grad_norm is None else skip_grad_norm
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._masters = [_master(weight) for weight in weights]
        self._copies = [(w, m) for w, m in zip(weights, self._masters, strict=True) if w is not m]
        # Gains and biases are few and have a scale of their own; decay would only pull them off it.
        groups = [
            {"params": [m for m in self._masters if m.ndim >= 2], "weight_decay": weight_decay},
            {"params": [m for m in self._masters if m.ndim < 2], "weight_decay": 0.0},
        ]
        self._adamw = torch.optim.AdamW([group for group in groups if group["params"]], betas=BETAS)

    def accumulate(self) -> None:
        """Add the 16-bit gradients of one backward pass to the float32 sums."""
        for weight, master in self._copies:
            if weight.grad is None:
                continue
            gradient = weight.grad.to(master.dtype)
            master.grad = gradient if master.grad is None else master.grad.add_(gradient)
            weight.grad = None

    def step(self, rate: float) -> float:
        """Clip the summed gradient, take one step of AdamW, clear the gradient; returns the norm before clipping.

        Raises UnusableGradient, with nothing changed but the gradient cleared.
        """
        self.accumulate()
        norm = full_tensor(get_total_norm([m.grad for m in self._masters if m.grad is not None]))
        if not torch.isfinite(norm):
            self._zero_grad()
            raise UnusableGradient(f"the gradient norm is {norm.item()}")
        if norm > self.skip_grad_norm:
            self._zero_grad()
            raise UnusableGradient(f"the gradient norm is {norm.item():.3g}, above {self.skip_grad_norm:g}")
        clip_grads_with_norm_(self._masters, self.max_grad_norm, norm)
        for group in self._adamw.param_groups:
            group["lr"] = rate
        self._adamw.step()
        self._update_weights()
        self._zero_grad()
        return norm.item()

    def state_dict(self) -> dict[str, Tensor]:
        """Moments, step counts and master weights by name, sharded as the model is."""
        copies = {id(master) for _, master in self._copies}
        tensors = {f"{i}.master": m.detach() for i, m in enumerate(self._masters) if id(m) in copies}
        for i, master in enumerate(self._masters):
            tensors |= {f"{i}.{name}": value for name, value in self._adamw.state.get(master, {}).items()}
        return tensors

    def full_state_dict(self) -> dict[str, Tensor]:
        """`state_dict` with full tensors, in the memory of rank 0. Collective: every rank must call it."""
        return gather_to_rank0(self.state_dict().items())

    def empty_state_dict(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Zeros of the shapes and sharding of a `state_dict` with these names, to read a checkpoint into."""
        masters = {name: self._masters[int(name.partition(".")[0])].detach() for name in names}
        return {
            name: torch.zeros(()) if name.endswith(".step") else torch.zeros_like(master)
            for name, master in masters.items()
        }

    @torch.no_grad()
    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Resume from a sharded or full `state_dict` of a model with the same parameters."""
        for name, tensor in tensors.items():
            i, _, what = name.partition(".")
            master = self._masters[int(i)]
            if what == "master":
                master.copy_(shard_like(tensor, master))
            else:
                self._adamw.state[master][what] = shard_like(tensor, master) if tensor.ndim else tensor
        self._update_weights()

    @torch.no_grad()
    def _update_weights(self) -> None:
        for weight, master in self._copies:
            weight.copy_(master)

    def _zero_grad(self) -> None:
        self._adamw.zero_grad(set_to_none=True)


def _master(weight: Parameter) -> Parameter:
    """The parameter itself, or its float32 copy if it has 16 bits."""
    if weight.dtype not in (torch.bfloat16, torch.float16):
        return weight
    return Parameter(weight.detach().to(torch.float32))
