"""Prefix trees: one packed row with every state once, and its completions as leaves.

    row      [ trunk ............................ | a | a | b | own suffix | c | c ]
    depth      0                               n    attach  attach            attach

Prompts that begin alike share a segment up to where they part, token by token, whatever turns the tokens belong to; so
pivots of one trajectory hang on one trunk, and trajectories with the same long system prompt share that. At a fork the
longest prompt continues as the trunk: a few long segments instead of many short ones. A segment attends to itself
causally and, of each ancestor, to what lies before the point where the path leaves it. The position id of a token is
its depth.

A completion's first token is predicted where its prompt ends, by one position for all G rollouts, and its last token
predicts nothing, so it is not in the row. Left out: sharing among completions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

import numpy as np

Tokens = list[int]

MIN_SHARED = 16
"""Prompts that share fewer tokens than this stay apart: the extra attention call costs more than it saves."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive tokens `start` to `stop` of the row.

    Example: `Segment(start=100, stop=108, depth=60, parent=0)` is a leaf of eight tokens that hangs on the first sixty
    tokens of segment 0.
    """

    start: int
    """Its first token, as a place in the row."""
    stop: int
    """One past the last."""
    depth: int
    """Position id of its first token; where it has a parent, the point on the path where it leaves it."""
    parent: int | None
    """Index of the segment that it hangs on; null for a root."""


@dataclass(frozen=True, slots=True)
class PackedTree:
    """A forest in one row, depth first: a segment's descendants follow it, nearest attach point first."""

    tokens: list[int] = field(default_factory=list)
    """Token ids [L]."""
    depths: list[int] = field(default_factory=list)
    """Position ids [L]."""
    segments: list[Segment] = field(default_factory=list)
    """In the order of the row, so every parent before its children."""
    predictors: list[int] = field(default_factory=list)
    """Place [T] that predicts each completion token, in the order prompt, rollout, token."""

    def visible_from(self, segment: int, n_before: int = 0, at_most: int | None = None) -> list[range]:
        """Places visible from a segment, `n_before` of its own tokens in: nearest piece first, `at_most` places."""
        pieces: list[range] = []
        index: int | None = segment
        n_seen = n_before
        while index is not None and (at_most is None or at_most > 0):
            own = self.segments[index]
            first = own.start if at_most is None else max(own.start, own.start + n_seen - at_most)
            piece = range(first, own.start + n_seen)
            if piece:
                pieces.append(piece)
                at_most = None if at_most is None else at_most - len(piece)
            if own.parent is not None:
                n_seen = own.depth - self.segments[own.parent].depth
            index = own.parent
        return pieces


def build_tree(prompts: Sequence[Tokens], completions: Sequence[Sequence[Tokens]]) -> PackedTree:
    """Pack prompts and completions into one row; their order does not change what is shared."""
    roots, ends = _forest(prompts)
    for p, group in enumerate(completions):
        for g, completion in enumerate(group):
            if len(completion) > 1:
                ends[p].children.append(_Node(completion[:-1], len(prompts[p]), leaf=(p, g)))
    row = PackedTree()
    starts: dict[object, int] = {}
    for root in roots:
        _append(root, None, row, starts)
    for p, group in enumerate(completions):
        last = starts[id(ends[p])] + len(prompts[p]) - 1 - ends[p].depth
        for g, completion in enumerate(group):
            first = starts.get((p, g), 0)
            row.predictors.extend([last, *range(first, first + len(completion) - 1)])
    return row


class SortedPrompts:
    """Prompts sorted by their tokens, so that those with the longest common prefix are neighbours.

    Example: of [1, 2, 3], [4] and [1, 2, 5], `order` is [0, 2, 1] and `shared` is [2, 0] (were MIN_SHARED 2 or less).
    """

    def __init__(self, prompts: Sequence[Tokens]) -> None:
        self.lengths = [len(prompt) for prompt in prompts]
        self.order = sorted(range(len(prompts)), key=lambda p: prompts[p])
        self.shared = [_common_prefix(prompts[p], prompts[q]) for p, q in pairwise(self.order)]

    def n_tokens(self, places: Sequence[int]) -> int:
        """Positions of the prompts at these places of the order, each shared prefix counted once."""
        places = sorted(places)
        saved = sum(min(self.shared[low:high], default=self.lengths[self.order[low]]) for low, high in pairwise(places))
        return sum(self.lengths[self.order[place]] for place in places) - saved


def _common_prefix(a: Tokens, b: Tokens) -> int:
    """Number of tokens that two prompts share, or 0 if they are too few to be worth it and not the whole of both."""
    n = min(len(a), len(b))
    differ = np.flatnonzero(np.asarray(a[:n]) != np.asarray(b[:n]))
    shared = int(differ[0]) if len(differ) else n
    return shared if shared >= MIN_SHARED or shared == len(a) == len(b) else 0


@dataclass(slots=True, eq=False)
class _Node:
    """A segment before it has a place; `leaf` is (prompt, number) of its rollout."""

    tokens: Tokens
    depth: int
    leaf: tuple[int, int] | None = None
    children: list[_Node] = field(default_factory=list)

    @property
    def end(self) -> int:
        """Depth of the path that ends with it."""
        return self.depth + len(self.tokens)


def _forest(prompts: Sequence[Tokens]) -> tuple[list[_Node], dict[int, _Node]]:
    """Roots, and the node in which each prompt ends."""
    by_tokens = SortedPrompts(prompts)
    order, shared = by_tokens.order, by_tokens.shared
    ends: dict[int, _Node] = {}

    def grow(low: int, high: int, depth: int) -> _Node:
        """The segment at `depth` of the sorted prompts `low` to `high`, which agree beyond it."""
        trunk = max(range(low, high), key=lambda i: len(prompts[order[i]]))
        node = _Node(prompts[order[trunk]][depth:], depth)
        leaves_at = [min(shared[min(i, trunk) : max(i, trunk)], default=node.end) for i in range(low, high)]
        first = low
        for i, at in enumerate(leaves_at, low):
            if at == len(prompts[order[i]]):
                ends[order[i]] = node
                first = i + 1
            elif i + 1 == high or leaves_at[i + 1 - low] != at or shared[i] == at:
                node.children.append(grow(first, i + 1, at))
                first = i + 1
        return node

    cuts = [0, *(i + 1 for i, n in enumerate(shared) if n == 0), len(order)]
    return [grow(low, high, 0) for low, high in pairwise(cuts) if low < high], ends


def _append(node: _Node, parent: int | None, row: PackedTree, starts: dict[object, int]) -> None:
    """Append a node and its descendants to the row."""
    start = len(row.tokens)
    starts[node.leaf or id(node)] = start
    row.tokens.extend(node.tokens)
    row.depths.extend(range(node.depth, node.depth + len(node.tokens)))
    index = len(row.segments)
    row.segments.append(Segment(start, len(row.tokens), node.depth, parent))
    for child in sorted(node.children, key=lambda child: child.depth):
        _append(child, index, row, starts)


def sibling_groups(row: PackedTree) -> Iterator[tuple[int, int, list[int]]]:
    """Siblings that leave their parent at the same point: (parent, depth, segments)."""
    children = [i for i, segment in enumerate(row.segments) if segment.parent is not None]

    def place(i: int) -> tuple[int, int]:
        return row.segments[i].parent or 0, row.segments[i].depth

    for (parent, depth), group in groupby(sorted(children, key=place), key=place):
        yield parent, depth, list(group)
