"""One model trained by several processes: FSDP2 shards it, and every process takes its share of the groups.

All processes hold the whole batch, so what a token weighs and how many there are is known without a word between them.
Each lays out its own groups, gradients are *summed*, and the update is that of one process. Every forward and backward
is a collective: who has fewer rows than the others repeats a short one without weight.

The prefix tree calls decoder and head by themselves, which is `inside` the root's forward, where its weights are whole.
Without a process group everything here does what a single process needs, which is nothing. Left out: a row shared by
several GPUs, and everything of NCCL's beyond its defaults.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from types import MethodType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from pivotrl_cli.learn.tree import Tokens

T = TypeVar("T")

PATIENCE = timedelta(minutes=60)
"""How long a process waits for the others; it must exceed what one samples and verifies longer than another."""

_INSIDE = "run_inside"
"""Name of the method whose calls FSDP takes for forwards of the root."""


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


_row_group: dist.ProcessGroup | None = None


def row_group() -> dist.ProcessGroup | None:
    """The processes that share each row with this one; None where it has its rows to itself."""
    return _row_group


def n_sharing() -> int:
    """How many processes share a row."""
    return _row_group.size() if _row_group is not None else 1


def share_rows(n_processes: int) -> None:
    """Have so many neighbouring processes share each row, see `ulysses`; a matter of all."""
    global _row_group
    _row_group = dist.new_subgroups(n_processes)[0] if n_processes > 1 else None  # type: ignore[no-untyped-call]


def open_group(device: torch.device) -> Store:
    """Meet the others, at the address that the environment names; objects travel by gloo, tensors of a GPU by NCCL.

    The store that comes back outlives this process where torchrun keeps it.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store: Store
    store, own_rank, size = next(rendezvous("env://", timeout=PATIENCE))
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    group_store = PrefixStore("pivotrl", store)
    dist.init_process_group(backend, store=group_store, rank=own_rank, world_size=size, timeout=PATIENCE)
    return store


def close_group() -> None:
    """Leave together. Sharded models go first, or their threads can abort the process at its end."""
    share_rows(1)
    gc.collect()
    dist.barrier()
    dist.destroy_process_group()


def own_device(device: torch.device) -> torch.device:
    """The GPU of this process on its machine, or the CPU."""
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if device.type == "cuda" else device


def shard(model: PreTrainedModel, device: torch.device, replicas: int = 1) -> PreTrainedModel:
    """Spread the weights over all processes, or over each of `replicas` sets of them; layer by layer onto the device.

    Gradients are reduced in float32. The root is sharded again after its forward like every layer, since a forward
    without a backward would leave it with weights that no optimiser updates.
    """
    mesh = init_device_mesh(device.type, (replicas, world() // replicas), mesh_dim_names=("replicate", "shard"))
    if replicas == 1:
        mesh = mesh["shard"]
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    for layer in [*model.get_decoder().layers, model]:  # type: ignore[no-untyped-call]
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, mp_policy=policy)
        layer.set_gradient_divide_factor(1.0)
        layer.set_force_sum_reduction_for_comms(True)
        layer.set_reduce_scatter_unused_params(True, recurse=False)
    setattr(model, _INSIDE, MethodType(_call, model))
    register_fsdp_forward_method(model, _INSIDE)
    return model


def _call(_model: PreTrainedModel, function: Callable[..., T], *args: Any) -> T:
    return function(*args)


def inside(model: PreTrainedModel, function: Callable[..., T], *args: Any) -> T:
    """Call a function that uses parts of a model, in the forward of the whole; it returns a tensor or a tuple of them.

    FSDP has to see those tensors, to make the weights whole for the backward as well.
    """
    if not isinstance(model, FSDPModule):
        return function(*args)
    result: T = getattr(model, _INSIDE)(function, *args)
    return result


def whole(tensor: Tensor) -> Tensor:
    """A tensor without its sharding: on every process, and a matter of all."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def sharded_like(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's part of a tensor that all have, sharded as another is; on its device in any case."""
    tensor = tensor.to(like.device)
    if not isinstance(like, DTensor) or isinstance(tensor, DTensor):
        return tensor
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)


def gathered(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Sharded tensors made whole one by one, in the first process's memory; a matter of all."""
    found = {}
    for name, tensor in tensors:
        full = whole(tensor.detach())
        found[name] = full.cpu() if rank() == 0 else full.new_empty(0)
    return found


def sharded(model: PreTrainedModel) -> bool:
    """Whether the weights are spread over several processes."""
    return isinstance(model, FSDPModule)


@torch.no_grad()
def refresh(copy: PreTrainedModel, weights: Iterable[tuple[str, Tensor]]) -> None:
    """Give a whole copy the weights of a sharded model, one by one."""
    into = dict(copy.named_parameters())
    for name, weight in weights:
        into[name].copy_(whole(weight))


def own(items: Sequence[T]) -> list[T]:
    """Every so many-th item, from this process's number on."""
    return list(items[rank() :: world()])


def joined(items: list[T]) -> list[T]:
    """What all processes made of their `own` items, in the order of the whole."""
    parts = everyones(items)
    return [parts[i % len(parts)][i // len(parts)] for i in range(sum(map(len, parts)))]


def everyones(item: T) -> list[T]:
    """What each process has, by its number."""
    if world() == 1:
        return [item]
    found: list[Any] = [None] * world()
    dist.all_gather_object(found, item)
    return found


def meet() -> None:
    """Wait for all."""
    if world() > 1:
        dist.barrier()


def each_rows(item: T) -> list[T]:
    """The same, once for those that share their rows."""
    return everyones(item)[:: n_sharing()]


def of_first(make: Callable[[], T]) -> T:
    """What the first process makes, on all."""
    if world() == 1:
        return make()
    made = [make() if rank() == 0 else None]
    dist.broadcast_object_list(made, src=0)
    return made[0]  # type: ignore[return-value]


def own_groups(prompts: Sequence[Tokens], lengths: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """The completion lengths of the groups that this process takes, nothing for the others'.

    Prompts that begin alike stay together: in sorted order they are cut where the positions of full sequences balance.
    """
    n_shares, share = world() // n_sharing(), rank() // n_sharing()
    if n_shares == 1:
        return list(lengths)
    costs = [len(prompt) + sum(group) for prompt, group in zip(prompts, lengths, strict=True)]
    mine, before = set(), 0
    for p in sorted(range(len(prompts)), key=lambda p: prompts[p]):
        if n_shares * (2 * before + costs[p]) // (2 * sum(costs)) == share:
            mine.add(p)
        before += costs[p]
    return [group if p in mine else [] for p, group in enumerate(lengths)]
