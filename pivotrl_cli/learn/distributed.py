"""Training one model with several processes: FSDP2 shards it, and every rank takes its share of the groups.

All ranks hold the whole batch, so token weights and counts need no communication. Each rank lays out its own groups,
gradients are *summed*, and the update is that of one process. Every forward and backward is a collective: a rank with
fewer rows than another repeats a short one with weight zero.

The prefix tree calls decoder and head by themselves, so it runs inside the root's forward (`run_in_forward`), where
FSDP has gathered the weights. Without a process group every function here does what a single process needs. Left out:
settings of NCCL beyond its defaults.
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

TIMEOUT = timedelta(minutes=60)
"""Time limit of a collective; one rank may sample and verify longer than another by less than this."""

_METHOD = "pivotrl_run"
"""Name of the method whose calls FSDP treats as the root module's forward."""


def world_size() -> int:
    """Number of processes, 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0; 0 without a process group."""
    return dist.get_rank() if dist.is_initialized() else 0


_sequence_group: dist.ProcessGroup | None = None


def sequence_group() -> dist.ProcessGroup | None:
    """The ranks that share each row with this one; None without sequence parallelism."""
    return _sequence_group


def sequence_parallel_size() -> int:
    """Number of ranks that share a row."""
    return _sequence_group.size() if _sequence_group is not None else 1


def init_sequence_parallel(size: int) -> None:
    """Let `size` neighbouring ranks share each row, see `ulysses`. Collective: every rank must call it."""
    global _sequence_group
    _sequence_group = dist.new_subgroups(size)[0] if size > 1 else None  # type: ignore[no-untyped-call]


def init_process_group(device: torch.device) -> Store:
    """Join the ranks at the address in torchrun's environment; objects use gloo, tensors of a GPU by NCCL.

    The store that is returned outlives this process where torchrun keeps it.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store: Store
    store, own_rank, size = next(rendezvous("env://", timeout=TIMEOUT))
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    group_store = PrefixStore("pivotrl", store)
    dist.init_process_group(backend, store=group_store, rank=own_rank, world_size=size, timeout=TIMEOUT)
    return store


def destroy_process_group() -> None:
    """Leave the group together; sharded models are freed first, or their threads can abort the process at its end."""
    init_sequence_parallel(1)
    gc.collect()
    dist.barrier()
    dist.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """The GPU of this rank on its machine, or the CPU."""
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if device.type == "cuda" else device


def shard_model(model: PreTrainedModel, device: torch.device, replicas: int = 1) -> PreTrainedModel:
    """Shard the weights over all ranks, or over each of `replicas` sets of them; layer by layer onto the device.

    Gradients are reduced in float32. The root is sharded again after its forward like every layer, since a forward
    without a backward would leave it with weights that no optimizer updates.
    """
    mesh = init_device_mesh(device.type, (replicas, world_size() // replicas), mesh_dim_names=("replicate", "shard"))
    if replicas == 1:
        mesh = mesh["shard"]
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    for layer in [*model.get_decoder().layers, model]:  # type: ignore[no-untyped-call]
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, mp_policy=policy)
        layer.set_gradient_divide_factor(1.0)
        layer.set_force_sum_reduction_for_comms(True)
        layer.set_reduce_scatter_unused_params(True, recurse=False)
    setattr(model, _METHOD, MethodType(lambda _model, function, *args: function(*args), model))
    register_fsdp_forward_method(model, _METHOD)
    return model


def run_in_forward(model: PreTrainedModel, function: Callable[..., T], *args: Any) -> T:
    """Call a function that uses parts of a model inside the forward of the whole model.

    The function returns a tensor or a tuple of tensors: FSDP hooks into them, to gather the weights for the backward.
    """
    if not isinstance(model, FSDPModule):
        return function(*args)
    result: T = getattr(model, _METHOD)(function, *args)
    return result


def full_tensor(tensor: Tensor) -> Tensor:
    """The tensor without its sharding. Collective: every rank must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(tensor: Tensor, like: Tensor) -> Tensor:
    """This rank's shard of a tensor that all ranks have, laid out and placed as `like`."""
    tensor = tensor.to(like.device)
    if not isinstance(like, DTensor) or isinstance(tensor, DTensor):
        return tensor
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)


def gather_to_rank0(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Sharded tensors as full ones in the memory of rank 0, one at a time. Collective: every rank must call it."""
    gathered = {}
    for name, tensor in tensors:
        full = full_tensor(tensor.detach())
        gathered[name] = full.cpu() if rank() == 0 else full.new_empty(0)
    return gathered


def is_sharded(model: PreTrainedModel) -> bool:
    """Whether the weights are sharded over several ranks."""
    return isinstance(model, FSDPModule)


def rank_slice(items: Sequence[T]) -> list[T]:
    """This rank's share of the items: every `world_size`-th, from its own number on."""
    return list(items[rank() :: world_size()])


def gather_in_order(items: list[T]) -> list[T]:
    """The results of all ranks for their `rank_slice`, in the order of the whole. Collective."""
    parts = all_gather(items)
    return [parts[i % len(parts)][i // len(parts)] for i in range(sum(map(len, parts)))]


def all_gather(item: T) -> list[T]:
    """One object from each rank, in order. Collective: every rank must call it."""
    if world_size() == 1:
        return [item]
    gathered: list[Any] = [None] * world_size()
    dist.all_gather_object(gathered, item)
    return gathered


def barrier() -> None:
    """Wait for all ranks."""
    if world_size() > 1:
        dist.barrier()


def data_parallel_gather(item: T) -> list[T]:
    """`all_gather` over the data-parallel ranks: one object from each set of ranks that share their rows."""
    return all_gather(item)[:: sequence_parallel_size()]


def from_rank0(make: Callable[[], T]) -> T:
    """The object that rank 0 makes, on all ranks. Collective: every rank must call it."""
    if world_size() == 1:
        return make()
    objects = [make() if rank() == 0 else None]
    dist.broadcast_object_list(objects, src=0)
    return objects[0]  # type: ignore[return-value]


def rank_groups(prompts: Sequence[Tokens], lengths: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """The completion lengths of the groups that this rank takes; empty lists for the other groups.

    Prompts that begin alike stay together: in sorted order they are cut where the positions of full sequences balance.
    """
    n_shares, share = world_size() // sequence_parallel_size(), rank() // sequence_parallel_size()
    if n_shares == 1:
        return list(lengths)
    costs = [len(prompt) + sum(group) for prompt, group in zip(prompts, lengths, strict=True)]
    mine, before = set(), 0
    for p in sorted(range(len(prompts)), key=lambda p: prompts[p]):
        if n_shares * (2 * before + costs[p]) // (2 * sum(costs)) == share:
            mine.add(p)
        before += costs[p]
    return [group if p in mine else [] for p, group in enumerate(lengths)]
