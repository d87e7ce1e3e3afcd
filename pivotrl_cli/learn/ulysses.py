"""Sequence parallelism for rows that are too long for one GPU: each rank holds a span of the row's places, and in
attention all places for some of the heads (Jacobs et al. 2023, DeepSpeed-Ulysses, arXiv:2309.14509).

Two all-to-alls per layer turn spans into heads and back, so the attention between them is that of one process, with
trees and windows. The implementations in libraries are DeepSpeed's, or split a causal sequence without a tree.

Axes: H heads, L places of the row, l places of a span, N ranks, D head size, T completion tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from pivotrl_cli.learn.distributed import sequence_group

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Query, key and value of a whole row, [1, heads, L, D] each -> attention output [1, heads, L, D]."""


def sequence_parallel_obstacle(model: PreTrainedModel, n_processes: int) -> str | None:
    """Why so many ranks cannot share the rows of this model; None if they can. Assumes the tree path."""
    config = model.config.get_text_config(decoder=True)
    if "linear_attention" in (getattr(config, "layer_types", None) or []):
        return f"the linear attention of {config.model_type} runs along the row, which no exchange of heads shortens"
    if config.num_attention_heads % n_processes:
        return f"its {config.num_attention_heads} attention heads do not divide by {n_processes}"
    return None


def local_span(n_places: int) -> range:
    """Places of a row that this rank holds, the row padded to equal spans; all without sequence parallelism."""
    group = sequence_group()
    if group is None:
        return range(n_places)
    length = -(-n_places // group.size())
    return range(group.rank() * length, (group.rank() + 1) * length)


def pad_to_span(values: list[int], places: range) -> list[int]:
    """The values at these places, padded with zeros."""
    found = values[places.start : places.stop]
    return found + [0] * (len(places) - len(found))


def head_parallel(attend: Attend, query: Tensor, key: Tensor, value: Tensor, n_places: int) -> Tensor:
    """Attention where each rank holds a span: [1, H, l, D] in and out."""
    group = sequence_group()
    if group is None:
        return attend(query, key, value)
    size = group.size()
    # Fewer key heads than processes: each goes to several.
    times = size // gcd(key.shape[1], size)
    key, value = (x.repeat_interleave(times, dim=1) if times > 1 else x for x in (key, value))
    out = attend(*(_to_heads(x, size)[:, :, :n_places] for x in (query, key, value)))
    return _to_span(pad(out, (0, 0, 0, size * query.shape[2] - n_places)), size)


def _to_heads(x: Tensor, size: int) -> Tensor:
    """[1, H, l, D] -> [1, H/N, N*l, D]"""
    by_head = x[0].reshape(size, -1, *x.shape[2:])
    return _all_to_all(by_head).transpose(0, 1).flatten(1, 2)[None]


def _to_span(x: Tensor, size: int) -> Tensor:
    """[1, H/N, N*l, D] -> [1, H, l, D]"""
    by_span = x[0].reshape(x.shape[1], size, -1, x.shape[3]).transpose(0, 1)
    return _all_to_all(by_span).flatten(0, 1)[None]


def _all_to_all(x: Tensor) -> Tensor:
    exchanged: Tensor = _AllToAll.apply(x)  # type: ignore[no-untyped-call]
    return exchanged


class _AllToAll(torch.autograd.Function):
    """[N, ...] -> [N, ...]: part j of process i becomes part i of process j, and so does its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        out = torch.empty_like(x)
        dist.all_to_all_single(out, x, group=sequence_group())
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _AllToAll.forward(ctx, grads[0])


def gather_tokens(own_T: Tensor, places_T: list[int], n_places: int) -> Tensor:
    """One number for each of these places of the row, on all ranks, from the numbers that each has for its span.

    All ranks compute the same loss from them, so each keeps the gradient of its own; their sum is that of one process.
    """
    group = sequence_group()
    if group is None:
        return own_T
    length = len(local_span(n_places))
    owners = [place // length for place in places_T]
    counts = [owners.count(i) for i in range(group.size())]
    longest, seen, index = max(counts), [0] * group.size(), []
    for owner in owners:
        index.append(owner * longest + seen[owner])
        seen[owner] += 1
    gathered: Tensor = _AllGather.apply(pad(own_T, (0, longest - len(own_T))))  # type: ignore[no-untyped-call]
    return gathered[torch.tensor(index, device=own_T.device)]


class _AllGather(torch.autograd.Function):
    """[n] of each process -> [N * n] on all of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        group = sequence_group()
        assert group is not None
        ctx.first, ctx.n = group.rank() * len(x), len(x)
        out = x.new_empty(group.size() * len(x))
        dist.all_gather_single(out, x.contiguous(), group=group)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0][ctx.first : ctx.first + ctx.n]
