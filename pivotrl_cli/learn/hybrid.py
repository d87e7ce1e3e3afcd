"""Linear attention over a packed row: segment by segment, each from the state at which its path begins.

A recurrent layer would run on from one leaf into the next without an error. So its forward is wrapped: segments are cut
where others leave them, siblings go as one batch, and the state at the cut is passed on with its gradient, through a
stand-in for transformers' cache (whose own states are updated in place, which autograd cannot follow).
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pivotrl_cli.learn.cascade import TreePlan
from pivotrl_cli.learn.tree import PackedTree, sibling_groups

_LINEAR = "linear_attn"
"""Name of the recurrent mixer in the layers of Qwen3.5."""


def wrap_linear_attention(model: PreTrainedModel) -> None:
    """Make the linear attention layers of a model accept `prefix_tree`; a second call changes nothing."""
    for layer in model.get_decoder().layers:  # type: ignore[no-untyped-call]
        mixer = getattr(layer, _LINEAR, None)
        if mixer is not None and not isinstance(mixer, _TreeForward):
            # A class, since a function set on the layer would drive the original's weights in a deep copy.
            mixer.__class__ = type(type(mixer).__name__, (_TreeForward, type(mixer)), {})


class _TreeForward(torch.nn.Module):
    """Forward that a linear attention layer gets before its own."""

    def forward(self, hidden_states: Tensor, *args: Any, prefix_tree: TreePlan | None = None, **kwargs: Any) -> Tensor:
        forward: Callable[..., Tensor] = super().forward
        if prefix_tree is None:
            return forward(hidden_states, *args, **kwargs)
        return _recur(forward, hidden_states[0], prefix_tree.row)[None]


class _State:
    """State of a recurrent layer; takes the place of the cache in one call of its forward.

    The layer reads it through `layers` and `has_previous_state` up to transformers 5.21, through the `get_...` after.
    """

    def __init__(self, conv: Tensor | None = None, recurrent: Tensor | None = None) -> None:
        self.conv, self.recurrent = conv, recurrent

    @property
    def layers(self) -> _State:
        """The layer's part of the cache, under any index."""
        return self

    def __getitem__(self, _layer: int) -> SimpleNamespace:
        return SimpleNamespace(
            record_past=self.is_recording_past(_layer), conv_states={0: self.conv}, recurrent_states={0: self.recurrent}
        )

    def get_conv_state(self, _layer: int, state_idx: int = 0) -> Tensor | None:
        return self.conv

    def get_recurrent_state(self, _layer: int, state_idx: int = 0) -> Tensor | None:
        return self.recurrent

    def is_recording_past(self, _layer: int) -> bool:
        """Keeps the layer off its in-place kernel for single tokens."""
        return True

    def has_previous_state(self, _layer: int, state_idx: int = 0) -> bool:
        return self.conv is not None

    def update_conv_state(self, mixed: Tensor, _layer: int, conv_kernel_size: int) -> Tensor:
        """Prepend the positions that the convolution still sees, and keep the last ones."""
        states = mixed if self.conv is None else torch.cat([self.conv, mixed], dim=-1)
        self.conv = states[..., -conv_kernel_size:]
        return states

    def update_recurrent_state(self, state: Tensor, _layer: int) -> None:
        self.recurrent = state

    def copies(self, n: int) -> _State:
        """The state for a batch of n."""
        assert self.conv is not None
        assert self.recurrent is not None
        return _State(self.conv.expand(n, -1, -1), self.recurrent.expand(n, -1, -1, -1))


def _recur(forward: Callable[..., Tensor], hidden_L: Tensor, row: PackedTree) -> Tensor:
    """Output [L, hidden] of a recurrent layer."""
    cuts = {(parent, depth): children for parent, depth, children in sibling_groups(row)}
    out: list[Tensor | None] = [None] * len(row.segments)

    def run(segments: list[int], state: _State | None) -> None:
        """Siblings from the same state; those that others hang on go alone."""
        leaves = [i for i in segments if i not in {parent for parent, _ in cuts}]
        for i in segments:
            if i not in leaves:
                follow(i, state)
        if leaves:
            spans = [row.segments[i] for i in leaves]
            hidden = torch.nn.utils.rnn.pad_sequence([hidden_L[s.start : s.stop] for s in spans], batch_first=True)
            mixed = forward(hidden, state.copies(len(leaves)) if state else None)
            for i, span, values in zip(leaves, spans, mixed, strict=True):
                out[i] = values[: span.stop - span.start]

    def follow(index: int, state: _State | None) -> None:
        """One segment, from cut to cut."""
        segment = row.segments[index]
        pieces, start = [], segment.start
        state = state.copies(1) if state else _State()
        for depth in sorted(depth for parent, depth in cuts if parent == index):
            stop = segment.start + depth - segment.depth
            pieces.append(forward(hidden_L[None, start:stop], state)[0])
            run(cuts[index, depth], state)
            start = stop
        if start < segment.stop:
            pieces.append(forward(hidden_L[None, start : segment.stop], state)[0])
        out[index] = torch.cat(pieces)

    run([i for i, segment in enumerate(row.segments) if segment.parent is None], None)
    return torch.cat([piece for piece in out if piece is not None])
