"""Pack prompt groups into micro-batches under a token budget, longest first: memory runs out in the first or never.

Nothing is ever truncated: a rollout that exceeds the budget alone becomes its own micro-batch. The budget counts the
positions that the layers compute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pivotrl_cli.learn.tree import SortedPrompts, Tokens


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


def pack_trees(
    prompts: Sequence[Tokens], completion_lengths: Sequence[Sequence[int]], token_budget: int
) -> list[list[Slice]]:
    """Rows of prefix trees that hold every rollout exactly once; groups without rollouts are left out.

    Prompts that begin alike are kept together as long as they fit. A group that exceeds the budget alone is split, and
    each part computes the prompt again. Trees then go first-fit into rows, the largest first.
    """
    by_tokens = SortedPrompts(prompts)
    place = {p: i for i, p in enumerate(by_tokens.order)}

    def cost(slices: Sequence[Slice]) -> int:
        """Positions of a row: each shared prefix once, and of completions all but the last token."""
        n_fed = sum(n - 1 for s in slices for n in completion_lengths[s.prompt][s.start : s.stop])
        return by_tokens.n_tokens([place[s.prompt] for s in slices]) + n_fed

    trees: list[list[Slice]] = []
    for p in by_tokens.order:
        if not completion_lengths[p]:
            continue
        whole = Slice(p, 0, len(completion_lengths[p]))
        related = bool(trees) and min(by_tokens.shared[place[trees[-1][-1].prompt] : place[p]]) > 0
        if related and cost([*trees[-1], whole]) <= token_budget:
            trees[-1].append(whole)
        else:
            trees.extend([part] for part in _split(whole, cost, token_budget))
    return sorted(_first_fit(sorted(trees, key=cost, reverse=True), cost, token_budget), key=cost, reverse=True)


def _first_fit(
    trees: list[list[Slice]], cost: Callable[[Sequence[Slice]], int], token_budget: int
) -> list[list[Slice]]:
    """Each tree in the first row that has room."""
    rows: list[list[Slice]] = []
    for tree in trees:
        row = next((row for row in rows if cost([*row, *tree]) <= token_budget), None)
        if row is None:
            rows.append(tree)
        else:
            row.extend(tree)
    return rows


def _split(whole: Slice, cost: Callable[[Sequence[Slice]], int], token_budget: int) -> list[Slice]:
    """One group as slices, each within the budget where its rollouts allow it."""
    parts, start = [], whole.start
    for g in range(whole.start, whole.stop):
        if g > start and cost([Slice(whole.prompt, start, g + 1)]) > token_budget:
            parts.append(Slice(whole.prompt, start, g))
            start = g
    return [*parts, Slice(whole.prompt, start, whole.stop)]


def pack_plain(
    prompt_lengths: Sequence[int], completion_lengths: Sequence[Sequence[int]], token_budget: int
) -> list[list[Slice]]:
    """Rectangles of full sequences that hold every rollout exactly once, padding counted; similar lengths together."""

    def length(piece: Slice) -> int:
        return prompt_lengths[piece.prompt] + max(completion_lengths[piece.prompt][piece.start : piece.stop])

    slices = [
        piece
        for p, lengths in enumerate(completion_lengths)
        for piece in _rectangles(p, prompt_lengths[p] + max(lengths, default=0), len(lengths), token_budget)
    ]
    batches: list[list[Slice]] = []
    for piece in sorted(slices, key=length, reverse=True):
        n_rows = sum(s.stop - s.start for s in [*(batches[-1] if batches else []), piece])
        if batches and n_rows * length(batches[-1][0]) <= token_budget:
            batches[-1].append(piece)
        else:
            batches.append([piece])
    return batches


def _rectangles(p: int, longest: int, n_rollouts: int, token_budget: int) -> list[Slice]:
    """One group as slices of as many full sequences as fit."""
    size = max(token_budget // longest, 1) if longest else 1
    return [Slice(p, start, min(start + size, n_rollouts)) for start in range(0, n_rollouts, size)]
