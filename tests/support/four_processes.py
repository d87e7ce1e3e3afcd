"""What each of four processes does for `test_distributed`: two sharded copies, shared rows, a checkpoint of all."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from learn_models import KINDS, tiny
from transformers import PreTrainedModel
from two_processes import BATCH, CPU, alone, gaps, together

from pivotrl_cli.learn.distributed import (
    barrier,
    destroy_process_group,
    full_tensor,
    init_process_group,
    init_sequence_parallel,
    rank,
    shard_model,
)
from pivotrl_cli.learn.grpo import GrpoOptions, grpo_update
from pivotrl_cli.learn.lora import add_adapters
from pivotrl_cli.learn.optimizer import Optimizer
from pivotrl_cli.stages.train.run_folder import Checkpoint
from pivotrl_cli.stages.train.state import TrainState


def half() -> PreTrainedModel:
    """In bfloat16, so that the optimizer has master weights."""
    return tiny("qwen3").to(torch.bfloat16)


def adapted() -> PreTrainedModel:
    """With adapters in float32 on weights in bfloat16."""
    model = half()
    add_adapters(model, rank=4, alpha=8.0, targets=["all-linear"], seed=0)
    return model


MODELS = {"half": half, "adapted": adapted}


def opened(name: str, replicas: int | None = None) -> TrainState:
    """One of the models, sharded over so many copies; whole where there are none."""
    model = MODELS[name]()
    model = model if replicas is None else shard_model(model, CPU, replicas)
    return TrainState(model, Optimizer(model), None)


def step(trained: TrainState) -> None:
    """Move the weights."""
    grpo_update(trained.model, trained.optimizer, BATCH, GrpoOptions(), 1e-2)


def state(trained: TrainState) -> dict[str, torch.Tensor]:
    """All that a checkpoint has to bring back, whole."""
    weights = {name: full_tensor(weight.detach()) for name, weight in trained.model.named_parameters()}
    return weights | {name: full_tensor(tensor) for name, tensor in trained.optimizer.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """To the bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def brought_back(name: str, folder: Path) -> str:
    """Write a checkpoint after a step, go on, and go on from it in the other division of the processes."""
    trained = opened(name, 2)
    step(trained)
    if rank() == 0:
        folder.mkdir()
    trained.write_checkpoint(folder, None)
    saved = state(trained)
    if rank() == 0:
        torch.save(saved, folder.with_suffix(".pt"))
    restored, resharded = opened(name, 2), opened(name, 1)
    for other in (restored, resharded):
        other.load_checkpoint(Checkpoint(folder))
    found = [same(state(restored), saved), same(state(resharded), saved)]
    step(trained)
    step(restored)
    return f"{name}: {[*found, same(state(restored), state(trained))]}"


def main(folder: Path) -> None:
    """One line per case, from the first process."""
    shared = {"qwen3": 4, "gemma3": 2}
    expected = {kind: alone(KINDS[kind]) for kind in shared}
    init_process_group(CPU)
    lines = [f"replicated: {gaps(expected['qwen3'], together(KINDS['qwen3'], 2))}"]
    for kind, n_sharing in shared.items():
        init_sequence_parallel(n_sharing)
        lines.append(f"{kind}: {gaps(expected[kind], together(KINDS[kind]))}")
    init_sequence_parallel(1)
    lines += [brought_back(name, folder / name) for name in MODELS]
    if rank() == 0:
        print("\n".join(lines))
    barrier()
    destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
