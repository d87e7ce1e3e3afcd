"""What each of two processes does for `test_distributed`: sharded updates of every kind of model, beside whole ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch
from learn_models import KINDS, relative, tiny, tokens
from transformers import PreTrainedModel

from pivotrl_cli.learn.batch import Batch, UpdateStats
from pivotrl_cli.learn.distributed import (
    all_gather,
    destroy_process_group,
    full_tensor,
    init_process_group,
    rank,
    shard_model,
)
from pivotrl_cli.learn.grpo import GrpoBatch, GrpoOptions, grpo_update
from pivotrl_cli.learn.optimizer import Optimizer, UnusableGradient
from pivotrl_cli.learn.self_check import self_check
from pivotrl_cli.learn.sft import sft_update

Make = Callable[[], PreTrainedModel]

CPU = torch.device("cpu")
LENGTHS = [[3, 1, 4], [1, 5], [9, 2, 6], [5], [3, 5, 8]]
PROMPTS = tokens(20, 7, 12, 30, 3)
BATCH = GrpoBatch(
    prompts=PROMPTS,
    completions=[tokens(*group, seed=i) for i, group in enumerate(LENGTHS)],
    sampler_logprobs=[[[-4.0] * n for n in group] for group in LENGTHS],
    advantages=[[1.0, -0.5, 0.25][: len(group)] for group in LENGTHS],
)
IMITATED = Batch(prompts=PROMPTS, completions=[[one] for one in tokens(4, 1, 7, 3, 2, seed=9)])


def updates(model: PreTrainedModel, reference: PreTrainedModel, changes: dict[str, Any]) -> list[UpdateStats]:
    """Three updates that move the weights far."""
    options = GrpoOptions(kl_coef=0.1, **changes)
    optimizer = Optimizer(model, max_grad_norm=0.5)
    done = [grpo_update(model, optimizer, BATCH, options, 1e-2, reference) for _ in range(2)]
    return [*done, sft_update(model, optimizer, IMITATED, 1e-2, token_budget=24, tree=options.tree)]


def alone(make: Make, **changes: Any) -> tuple[list[UpdateStats], PreTrainedModel]:
    """What one process measures, and the model that it makes; to be asked before there are two."""
    model = make()
    return updates(model, make(), changes), model


def together(make: Make, replicas: int = 1, **changes: Any) -> tuple[list[UpdateStats], PreTrainedModel]:
    """The same of two processes."""
    model, reference, trained = shard_model(make(), CPU, replicas), shard_model(make(), CPU, replicas), make()
    self_check(model)
    measured = updates(model, reference, changes)
    with torch.no_grad():
        for weight, sharded in zip(trained.parameters(), model.parameters(), strict=True):
            weight.copy_(full_tensor(sharded))
    return measured, trained


def gaps(one: tuple[list[UpdateStats], PreTrainedModel], other: tuple[list[UpdateStats], PreTrainedModel]) -> str:
    """The largest relative difference in what was measured, and in a weight after it."""
    pairs = [pair for stats in zip(one[0], other[0], strict=True) for pair in pairs_of(*stats)]
    weights = zip(one[1].parameters(), other[1].parameters(), strict=True)
    measured = max(abs(a - e) / max(abs(e), 1.0) for e, a in pairs)
    return f"{measured:.3g} {max(relative(a, e) for e, a in weights):.3g}"


def pairs_of(one: UpdateStats, other: UpdateStats) -> list[tuple[float, float]]:
    return [(a, e) for a, e in zip(asdict(one).values(), asdict(other).values(), strict=True) if e is not None]


def skips() -> bool:
    """Whether a gradient is refused that is not finite in one process alone."""
    model = shard_model(tiny("qwen3"), CPU)
    before = [weight.to_local().clone() for weight in model.parameters()]
    broken = [[torch.nan] * len(group) if p == 0 else group for p, group in enumerate(BATCH.advantages)]
    try:
        grpo_update(model, Optimizer(model), replace(BATCH, advantages=broken), GrpoOptions(), 1e-2)
    except UnusableGradient:
        return all(torch.equal(weight.to_local(), old) for weight, old in zip(model.parameters(), before, strict=True))
    return False


CASES: dict[str, tuple[Make, dict[str, Any]]] = {kind: (make, {}) for kind, make in KINDS.items()} | {
    "plain": (KINDS["qwen3"], {"tree": False, "token_budget": 64}),
    "old log-probabilities": (KINDS["qwen3"], {"importance_cap": 2.0, "token_budget": 40}),
}


def main() -> None:
    """One line per case, from the first process."""
    expected = {name: alone(make, **changes) for name, (make, changes) in CASES.items()}
    init_process_group(CPU)
    lines = [f"{name}: {gaps(expected[name], together(make, **changes))}" for name, (make, changes) in CASES.items()]
    lines.append(f"replicated: {gaps(expected['qwen3'], together(KINDS['qwen3'], 2))}")
    lines.append(f"skips: {all_gather(skips())}")
    if rank() == 0:
        print("\n".join(lines))
    destroy_process_group()


if __name__ == "__main__":
    main()
