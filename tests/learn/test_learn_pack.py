"""Micro-batches by hand and by property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivotrl_cli.learn import tree
from pivotrl_cli.learn.pack import Slice, pack_plain, pack_trees
from pivotrl_cli.learn.tree import build_tree

Prompts = list[list[int]]
Lengths = list[list[int]]


def row_tokens(prompts: Prompts, lengths: Lengths, slices: list[Slice]) -> int:
    """Positions of the row that is really made of these slices."""
    completions = [[[0] * n for n in lengths[s.prompt][s.start : s.stop]] for s in slices]
    return len(build_tree([prompts[s.prompt] for s in slices], completions).tokens)


def rectangle(prompts: Prompts, lengths: Lengths, slices: list[Slice]) -> int:
    """Positions of a padded batch of full sequences."""
    rows = [len(prompts[s.prompt]) + n for s in slices for n in lengths[s.prompt][s.start : s.stop]]
    return len(rows) * max(rows)


TRUNK = list(range(100, 160))


def test_trees_fill_up_to_the_budget_longest_first():
    # Alone 4+2*2=8, 9+0+2=11 and 2+0+0=2 positions.
    prompts = [[1] * 4, [2] * 9, [3] * 2]
    lengths = [[3, 3], [1, 3], [1, 1]]
    assert pack_trees(prompts, lengths, 13) == [[Slice(1, 0, 2), Slice(2, 0, 2)], [Slice(0, 0, 2)]]
    assert pack_trees(prompts, lengths, 21) == [[Slice(1, 0, 2), Slice(0, 0, 2), Slice(2, 0, 2)]]


def test_prompts_of_one_trunk_stay_together():
    prompts = [TRUNK[:40], [7] * 30, TRUNK]
    lengths = [[5, 5], [5], [5, 5]]
    # 60 + 4*4 = 76 shared, 40 + 8 and 60 + 8 apart; the stranger takes 34.
    assert pack_trees(prompts, lengths, 76) == [[Slice(0, 0, 2), Slice(2, 0, 2)], [Slice(1, 0, 1)]]
    assert pack_trees(prompts, lengths, 75) == [[Slice(2, 0, 2)], [Slice(0, 0, 2)], [Slice(1, 0, 1)]]


def test_a_group_that_is_too_large_alone_is_split():
    # 10 + k*4 <= 20 holds up to k = 2.
    assert pack_trees([[1] * 10], [[5, 5, 5, 5, 5]], 20) == [[Slice(0, 0, 2)], [Slice(0, 2, 4)], [Slice(0, 4, 5)]]


def test_plain_counts_full_sequences():
    assert pack_plain([10], [[4, 4, 4]], 42) == [[Slice(0, 0, 3)]]
    assert pack_plain([10], [[4, 4, 4]], 41) == [[Slice(0, 0, 2)], [Slice(0, 2, 3)]]
    assert pack_plain([4, 9], [[3], [1, 3]], 36) == [[Slice(1, 0, 2), Slice(0, 0, 1)]]


def test_never_truncates():
    expected = [[Slice(0, 0, 1)], [Slice(0, 1, 2)], [Slice(1, 0, 1)]]
    assert pack_trees([[1] * 100, [2]], [[5, 5], [1]], 10) == expected
    assert pack_plain([100, 1], [[5, 5], [1]], 10) == expected


def test_leaves_out_groups_without_rollouts():
    assert pack_trees([[1] * 3, [2] * 3], [[], [2]], 10) == pack_plain([3, 3], [[], [2]], 10) == [[Slice(1, 0, 1)]]
    assert pack_trees([], [], 10) == pack_plain([], [], 10) == []


tokens = st.lists(st.integers(0, 1), min_size=1, max_size=12)
completion_lengths = st.lists(st.integers(1, 12), max_size=6)
groups = st.lists(st.tuples(tokens, completion_lengths), max_size=8)


@pytest.fixture(params=[2, 16])
def min_shared(request: pytest.FixtureRequest):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree, "MIN_SHARED", request.param)
        yield


@pytest.mark.parametrize("shared", [True, False])
def test_every_rollout_once_within_the_budget_longest_first(min_shared: None, shared: bool):
    @given(groups, st.integers(1, 100))
    def check(groups: list[tuple[list[int], list[int]]], budget: int) -> None:
        prompts, lengths = [p for p, _ in groups], [n for _, n in groups]
        if shared:
            rows, cost = pack_trees(prompts, lengths, budget), row_tokens
        else:
            rows, cost = pack_plain([len(p) for p in prompts], lengths, budget), rectangle
        held = [(s.prompt, g) for row in rows for s in row for g in range(s.start, s.stop)]
        assert sorted(held) == [(p, g) for p, group in enumerate(lengths) for g in range(len(group))]
        costs = [cost(prompts, lengths, row) for row in rows]
        for row, size in zip(rows, costs, strict=True):
            alone = len(row) == 1 and row[0].stop - row[0].start == 1
            assert alone or size <= budget
        if shared:
            assert costs == sorted(costs, reverse=True)

    check()
