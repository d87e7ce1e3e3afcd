"""Cascade attention over a packed row: parts that are merged by their log-sum-exps. No mask, no copies of keys.

    self      every segment over itself, causal; segments of similar length in one padded call
    context   all that leaves a segment at one point, over the part of that segment before it, in one call

With the log-sum-exp of the whole softmax, the backward of each part gives its exact share of the gradient (as in ring
attention). The kernels below return and take log-sum-exps; they are torch's own but not its public interface, which is
why training starts with a self-check and `expand` exists: the same attention in public calls, with the keys gathered
for every segment. It is the tests' reference, and serves devices without such kernels.

A window splits segments into chunks no longer than itself; a chunk sees itself, and of the tokens before it the last
`window - 1` through a mask of that width.

Axes: H query heads, K key-value heads, L places of the row, D head size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from pivotrl_cli.learn.tree import PackedTree, sibling_groups
from pivotrl_cli.learn.ulysses import head_parallel, local_span, pad_to_span

NAME = "pivotrl_prefix_tree"
"""Name of the attention among those of transformers."""


class TreePlan:
    """A packed row on its device with its attention calls; passed to the layers as `prefix_tree`."""

    def __init__(self, row: PackedTree, device: torch.device, kernel: str | None = None) -> None:
        self.row = row
        self.depths = torch.tensor(row.depths, device=device)
        self.kernel = kernel or (device.type if device.type in _KERNELS else "expand")
        self._calls: dict[int | None, Calls] = {}

    def calls(self, window: int | None) -> Calls:
        """Attention calls of layers with this window, cached; a window that nothing exceeds counts as none."""
        if window is not None and max(self.row.depths) < window:
            window = None
        if window not in self._calls:
            make = _full_calls if window is None else _windowed_calls
            self._calls[window] = make(self.row, self.depths, window or 0)
        return self._calls[window]


@dataclass(frozen=True, slots=True)
class SelfCall:
    """Segments that each attend to themselves: places [n, T], padded with a repeated one, and which are real."""

    places: Tensor
    real: Tensor | None
    """Null where all are."""

    def gather(self, x: Tensor, padding: float | None = None) -> Tensor:
        """[H, L, ...] -> [n, H, T, ...], with this value where it is padded."""
        taken = x[:, self.places].transpose(0, 1)
        if padding is None or self.real is None:
            return taken
        real = self.real[:, None] if taken.ndim == 3 else self.real[:, None, :, None]
        return taken.where(real, padding)

    def scatter(self, x: Tensor, values: Tensor) -> None:
        """[n, H, T, ...] into [H, L, ...]"""
        values = values.transpose(0, 1)
        if self.real is None:
            x[:, self.places] = values.to(x.dtype)
        else:
            x[:, self.places[self.real]] = values[:, self.real].to(x.dtype)


@dataclass(frozen=True, slots=True)
class ContextCall:
    """Queries over keys of an ancestor; `visible` [queries, keys] where not every query sees every key."""

    queries: slice | Tensor
    keys: slice | Tensor
    visible: Tensor | None = None


class Calls(NamedTuple):
    """All attention calls of one layer."""

    selves: list[SelfCall]
    contexts: list[ContextCall]


def _full_calls(row: PackedTree, depths: Tensor, _window: int) -> Calls:
    """Full attention."""
    segments = row.segments
    ends = [segment.stop for segment in segments]
    for i in reversed(range(len(segments))):
        parent = segments[i].parent
        if parent is not None:
            ends[parent] = max(ends[parent], ends[i])
    contexts = []
    for parent, depth, children in sibling_groups(row):
        first = segments[parent].start
        queries = slice(segments[children[0]].start, ends[children[-1]])
        contexts.append(ContextCall(queries, slice(first, first + depth - segments[parent].depth)))
    return Calls(_self_calls([range(s.start, s.stop) for s in segments], depths.device), contexts)


def _windowed_calls(row: PackedTree, depths: Tensor, window: int) -> Calls:
    """Attention to the last `window` tokens of the path, the token itself included."""
    chunks: list[range] = []
    queries: dict[tuple[int | None, int], list[int]] = {}
    keys: dict[tuple[int | None, int], list[int]] = {}
    for index, segment in enumerate(row.segments):
        for start in range(segment.start, segment.stop, window):
            chunk = range(start, min(start + window, segment.stop))
            chunks.append(chunk)
            before = start - segment.start
            # Siblings see the same keys; a later chunk has its own.
            point = (segment.parent, segment.depth) if before == 0 else (None, start)
            queries.setdefault(point, []).extend(chunk[: window - 1])
            keys[point] = [place for piece in row.visible_from(index, before, window - 1) for place in piece]
    contexts = [_window_call(queries[p], keys[p], depths, window) for p in queries if keys[p] and queries[p]]
    return Calls(_self_calls(chunks, depths.device), contexts)


def _window_call(queries: list[int], keys: list[int], depths: Tensor, window: int) -> ContextCall:
    at, of = torch.tensor(queries, device=depths.device), torch.tensor(keys, device=depths.device)
    visible = depths[of] > depths[at][:, None] - window
    seen = visible.any(dim=1)  # a kernel's answer over no keys at all is not to be trusted
    return ContextCall(at[seen], of, None if visible.all() else visible[seen])


def _self_calls(pieces: list[range], device: torch.device) -> list[SelfCall]:
    """Pieces in calls of similar lengths: none is padded to twice its own."""
    by_size: dict[int, list[range]] = {}
    for piece in pieces:
        by_size.setdefault(len(piece).bit_length(), []).append(piece)
    calls = []
    for alike in by_size.values():
        longest = max(map(len, alike))
        padded = [[*piece, *[piece[0]] * (longest - len(piece))] for piece in alike]
        lengths = torch.tensor([len(piece) for piece in alike], device=device)
        ragged = int(lengths.min()) < longest
        real = torch.arange(longest, device=device) < lengths[:, None] if ragged else None
        calls.append(SelfCall(torch.tensor(padded, device=device), real))
    return calls


class _Cascade(torch.autograd.Function):
    """Query [H, L, D], key and value [K, L, D] -> [H, L, D]."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, calls: Calls, kernel: Kernel, scale: float
    ) -> Tensor:
        wide = torch.promote_types(query.dtype, torch.float32)
        out = torch.empty_like(query, dtype=wide)
        lse = torch.empty(query.shape[:2], dtype=wide, device=query.device)
        for one in calls.selves:
            part, part_lse = kernel.forward(one.gather(query), one.gather(key), one.gather(value), None, True, scale)
            one.scatter(out, part)
            one.scatter(lse, part_lse)
        n_kv = len(key)
        for c in calls.contexts:
            keys, values = key[None, :, c.keys], value[None, :, c.keys]
            queries, bias = _fold_heads(query[:, c.queries], n_kv), _score_bias(c, query, n_kv)
            part, part_lse = kernel.forward(queries, keys, values, bias, False, scale)
            _merge(out, lse, c.queries, part, part_lse)
        out = out.to(query.dtype)
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.calls, ctx.kernel, ctx.scale = calls, kernel, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        query, key, value, out, lse = ctx.saved_tensors
        n_kv, backward, scale = len(key), ctx.kernel.backward, ctx.scale
        totals = [torch.empty_like(x, dtype=lse.dtype) for x in (query, key, value)]
        for one in ctx.calls.selves:
            # With an infinite normaliser, padding has no weight.
            inputs = [one.gather(grads[0], 0.0), *map(one.gather, (query, key, value, out)), one.gather(lse, torch.inf)]
            for total, part in zip(totals, backward(*inputs, None, True, scale), strict=True):
                one.scatter(total, part)
        for c in ctx.calls.contexts:
            grad, queries, part_out = (_fold_heads(x[:, c.queries], n_kv) for x in (grads[0], query, out))
            keys, values = key[None, :, c.keys], value[None, :, c.keys]
            part_lse = lse[:, c.queries].reshape(1, n_kv, -1)
            bias = _score_bias(c, query, n_kv)
            parts = backward(grad, queries, keys, values, part_out, part_lse, bias, False, scale)
            for total, part, where in zip(totals, parts, (c.queries, c.keys, c.keys), strict=True):
                total[:, where] += part.reshape(len(total), -1, total.shape[-1])
        d_query, d_key, d_value = totals
        return d_query.to(query.dtype), d_key.to(key.dtype), d_value.to(value.dtype), None, None, None


def _fold_heads(x: Tensor, n_kv: int) -> Tensor:
    """[H, n, D] -> [1, K, H/K * n, D]: the query heads of one key-value head as further queries."""
    return x.reshape(1, n_kv, -1, x.shape[-1])


def _score_bias(context: ContextCall, query: Tensor, n_kv: int) -> Tensor | None:
    """Bias of the scores of folded queries; null where all keys are visible."""
    if context.visible is None:
        return None
    folded = context.visible.repeat(len(query) // n_kv, 1)
    return torch.zeros(folded.shape, dtype=query.dtype, device=query.device).masked_fill_(~folded, -torch.inf)


def _merge(out: Tensor, lse: Tensor, where: slice | Tensor, part: Tensor, part_lse: Tensor) -> None:
    """Merge one part of the softmax into the rest, as if it had been one."""
    old = lse[:, where]
    new = part_lse.reshape(old.shape)
    both = torch.logaddexp(old, new)
    joined = out[:, where] * (old - both).exp_()[..., None]
    joined += part.reshape(joined.shape) * (new - both).exp_()[..., None]
    out[:, where] = joined
    lse[:, where] = both


class Kernel(NamedTuple):
    """Attention that returns its log-sum-exp, and its backward that takes one. Batch first; K may divide H."""

    forward: Callable[[Tensor, Tensor, Tensor, Tensor | None, bool, float], tuple[Tensor, Tensor]]
    """(query, key, value, bias, causal, scale) -> (out, log-sum-exp)"""
    backward: Callable[..., tuple[Tensor, Tensor, Tensor]]
    """(grad, query, key, value, out, log-sum-exp, bias, causal, scale) -> gradients of query, key, value"""


def _cpu(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out, lse = flash(q, k, v, 0.0, causal, attn_mask=bias, scale=scale)
    return out, lse


def _cpu_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    bias: Tensor | None,
    causal: bool,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    dq, dk, dv = flash(grad, q, k, v, out, lse, 0.0, causal, attn_mask=bias, scale=scale)
    return dq, dk, dv


_ALIGNED = 32
"""The GPU kernel wants log-sum-exps in multiples of this, and biases whose rows begin at such places."""


def _cuda(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    k, v = (_repeat_heads(x, q.shape[1]) for x in (k, v))
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    out, lse, _, _ = efficient(q, k, v, _align_rows(bias, q), True, 0.0, causal, scale=scale)
    return out, lse[:, :, : q.shape[2]]


def _cuda_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    bias: Tensor | None,
    causal: bool,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    n_kv = k.shape[1]
    k, v = (_repeat_heads(x, q.shape[1]) for x in (k, v))
    lse = torch.nn.functional.pad(lse, (0, -lse.shape[2] % _ALIGNED), value=torch.inf)
    seed = torch.zeros((), dtype=torch.long)
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention_backward
    needed = [True, True, True, False]
    dq, dk, dv, _ = efficient(
        grad, q, k, v, _align_rows(bias, q), out, lse, seed, seed, 0.0, needed, causal, scale=scale
    )
    return dq, dk.unflatten(1, (n_kv, -1)).sum(2), dv.unflatten(1, (n_kv, -1)).sum(2)


def _repeat_heads(x: Tensor, n_heads: int) -> Tensor:
    """A key-value head for every query head."""
    return x if x.shape[1] == n_heads else x.repeat_interleave(n_heads // x.shape[1], dim=1)


def _align_rows(bias: Tensor | None, query: Tensor) -> Tensor | None:
    """The bias [n, m] for every batch and head, with rows at aligned addresses."""
    if bias is None:
        return None
    room = bias.new_zeros(bias.shape[0], bias.shape[1] + -bias.shape[1] % _ALIGNED)
    room[:, : bias.shape[1]] = bias
    return room[:, : bias.shape[1]].expand(query.shape[0], query.shape[1], -1, -1)


_KERNELS = {"cpu": Kernel(_cpu, _cpu_backward), "cuda": Kernel(_cuda, _cuda_backward)}


def cascade(query: Tensor, key: Tensor, value: Tensor, plan: TreePlan, window: int | None, scale: float) -> Tensor:
    """Attention of one row: query [1, H, L, D], key and value [1, K, L, D] -> [1, H, L, D]."""
    calls, kernel = plan.calls(window), _KERNELS[plan.kernel]
    out: Tensor = _Cascade.apply(query[0], key[0], value[0], calls, kernel, scale)  # type: ignore[no-untyped-call]
    return out[None]


def expand(query: Tensor, key: Tensor, value: Tensor, plan: TreePlan, window: int | None, scale: float) -> Tensor:
    """`cascade` in public calls: segment by segment, with the keys of its path gathered."""
    pieces = []
    for index, segment in enumerate(plan.row.segments):
        path = [place for piece in plan.row.visible_from(index) for place in piece]
        places = torch.tensor([*path, *range(segment.start, segment.stop)], device=query.device)
        at = plan.depths[segment.start : segment.stop, None]
        visible = plan.depths[places] <= at
        if window is not None:
            visible &= plan.depths[places] > at - window
        q = query[:, :, segment.start : segment.stop]
        k, v = key[:, :, places], value[:, :, places]
        pieces.append(scaled_dot_product_attention(q, k, v, visible, scale=scale, enable_gqa=True))
    return torch.cat(pieces, dim=2)


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    prefix_tree: TreePlan | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """The attention function that layers call: over a packed row if they get one, else transformers' own."""
    if prefix_tree is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    if kwargs.get("dropout"):
        raise ValueError("attention with dropout has no prefix tree")
    chosen = expand if prefix_tree.kernel == "expand" else cascade
    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    attend = partial(chosen, plan=prefix_tree, window=kwargs.get("sliding_window"), scale=scale)
    return head_parallel(attend, query, key, value, len(prefix_tree.row.tokens)).transpose(1, 2), None


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def hidden_states(model: PreTrainedModel, plan: TreePlan) -> Tensor:
    """Final hidden states [L, hidden] of a row, or of this rank's span of it.

    The attention stays set, since gradient checkpointing calls it again in the backward pass; without a row it is
    transformers' own. A mask of four dimensions is passed through untouched, so none of the row's size is built.
    """
    if model.config.get_text_config(decoder=True)._attn_implementation != NAME:
        model.set_attn_implementation(NAME)
    decoder = model.get_decoder()  # type: ignore[no-untyped-call]
    span = local_span(len(plan.row.tokens))
    states = decoder(
        input_ids=torch.tensor([pad_to_span(plan.row.tokens, span)], device=model.device),
        position_ids=torch.tensor([pad_to_span(plan.row.depths, span)], device=model.device),
        attention_mask=torch.zeros(1, 1, 1, 1, device=model.device),
        use_cache=False,
        prefix_tree=plan,
    ).last_hidden_state
    hidden: Tensor = states[0]
    return hidden
