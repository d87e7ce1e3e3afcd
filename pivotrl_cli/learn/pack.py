"""Prompt groups into micro-batches that stay under a token budget, padding included.

Longest first, so that the step that needs the most memory is the first, and so that similar lengths share a batch.
Nothing is ever truncated: what exceeds the budget alone becomes its own micro-batch. Counted are the positions that the
layers compute; the copies of a prompt's keys and values at its rollouts are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slice:
    """Rollouts `start` to `stop` of one prompt.

    Example: `Slice(prompt=3, start=0, stop=8)` is a whole group of eight.
    """

    prompt: int
    """Index of the prompt in the batch."""
    start: int
    """First rollout of the group."""
    stop: int
    """One past the last."""


def pack(
    prompt_lengths: Sequence[int],
    completion_lengths: Sequence[Sequence[int]],
    token_budget: int,
    *,
    shared: bool = True,
) -> list[list[Slice]]:
    """Micro-batches that hold every rollout exactly once; groups without rollouts are left out.

    A group that exceeds the budget alone is split over several slices, each of which computes the prompt again.
    `shared` says whether a prompt is computed once per slice or once per rollout, see `policy`.
    """
    slices = [
        piece
        for p, lengths in enumerate(completion_lengths)
        for piece in _split(p, prompt_lengths[p], lengths, token_budget, shared)
    ]

    def size(piece: Slice) -> tuple[int, int]:
        return prompt_lengths[piece.prompt], max(completion_lengths[piece.prompt][piece.start : piece.stop])

    def cost(batch: list[Slice]) -> int:
        sizes = [size(piece) for piece in batch]
        n_rows = sum(piece.stop - piece.start for piece in batch)
        n_prompts = len(batch) if shared else n_rows
        return n_prompts * max(prompt for prompt, _ in sizes) + n_rows * max(completion for _, completion in sizes)

    batches: list[list[Slice]] = []
    for piece in sorted(slices, key=lambda piece: sum(size(piece)), reverse=True):
        if batches and cost([*batches[-1], piece]) <= token_budget:
            batches[-1].append(piece)
        else:
            batches.append([piece])
    return batches


def _split(p: int, prompt: int, lengths: Sequence[int], token_budget: int, shared: bool) -> list[Slice]:
    """One group as slices, each within the budget where its rollouts allow it."""
    longest = max(lengths, default=0)
    room = (token_budget - prompt) // max(longest, 1) if shared else token_budget // (prompt + longest)
    size = max(room, 1)
    return [Slice(p, start, min(start + size, len(lengths))) for start in range(0, len(lengths), size)]
