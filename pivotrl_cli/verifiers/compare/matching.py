"""Pairing calls: a maximum matching of a bipartite graph."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


def maximum_matching(edges: Sequence[Sequence[int]]) -> dict[int, int]:
    """Pair as many left nodes as possible with a right node each; `edges[left]` are the right nodes it may take.

    Augmenting paths by breadth-first search, `O(left * edges)`, meant for some dozens of calls. Nodes with the fewest
    edges come first, which decides *which* left nodes are paired where not all can be. Returns left -> right.

    >>> maximum_matching([[0, 1], [0]])
    {1: 0, 0: 1}
    """
    right_of: dict[int, int] = {}
    left_of: dict[int, int] = {}
    for root in sorted(range(len(edges)), key=lambda left: len(edges[left])):
        _augment(root, edges, right_of, left_of)
    return right_of


def _augment(root: int, edges: Sequence[Sequence[int]], right_of: dict[int, int], left_of: dict[int, int]) -> None:
    reached_from: dict[int, int] = {}
    queue = deque([root])
    while queue:
        left = queue.popleft()
        for right in edges[left]:
            if right in reached_from:
                continue
            reached_from[right] = left
            if right in left_of:
                queue.append(left_of[right])
                continue
            given_up: int | None = right
            while given_up is not None:  # flip the path back to the root
                right, left = given_up, reached_from[given_up]
                given_up = right_of.get(left)
                right_of[left], left_of[right] = right, left
            return
