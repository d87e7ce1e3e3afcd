"""Micro-batches by hand and by property."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pivotrl_cli.learn.pack import Slice, pack


def cost(prompts: list[int], completions: list[list[int]], batch: list[Slice], shared: bool) -> int:
    """Rectangle of prompts plus rectangle of completions."""
    rows = [(s.prompt, g) for s in batch for g in range(s.start, s.stop)]
    n_prompts = len(batch) if shared else len(rows)
    longest_completion = max(completions[p][g] for p, g in rows)
    return n_prompts * max(prompts[s.prompt] for s in batch) + len(rows) * longest_completion


def test_fills_up_to_the_budget_longest_first():
    # Groups cost 4+2*3=10, 9+2*3=15, 2+2*1=4. The first two together: 2*9+4*3=30; all three: 3*9+6*3=45.
    assert pack([4, 9, 2], [[3, 3], [1, 3], [1, 1]], 30) == [
        [Slice(1, 0, 2), Slice(0, 0, 2)],
        [Slice(2, 0, 2)],
    ]
    assert pack([4, 9, 2], [[3, 3], [1, 3], [1, 1]], 45) == [[Slice(1, 0, 2), Slice(0, 0, 2), Slice(2, 0, 2)]]


def test_splits_a_group_that_is_too_large_alone():
    # 10 + k*4 <= 20 holds up to k = 2; two such slices would cost 2*10 + 4*4.
    assert pack([10], [[4, 4, 4, 4, 4]], 20) == [[Slice(0, 0, 2)], [Slice(0, 2, 4)], [Slice(0, 4, 5)]]


def test_plain_counts_a_prompt_for_each_rollout():
    assert pack([10], [[4, 4, 4]], 30) == [[Slice(0, 0, 3)]]
    assert pack([10], [[4, 4, 4]], 30, shared=False) == [[Slice(0, 0, 2)], [Slice(0, 2, 3)]]


def test_never_truncates():
    assert pack([100, 1], [[5, 5], [1]], 10) == [[Slice(0, 0, 1)], [Slice(0, 1, 2)], [Slice(1, 0, 1)]]


def test_leaves_out_groups_without_rollouts():
    assert pack([3, 3], [[], [2]], 10) == [[Slice(1, 0, 1)]]
    assert pack([], [], 10) == []


groups = st.lists(st.tuples(st.integers(1, 40), st.lists(st.integers(1, 12), max_size=6)), max_size=8)


@given(groups, st.integers(1, 200), st.booleans())
def test_every_rollout_once_and_within_the_budget(groups: list[tuple[int, list[int]]], budget: int, shared: bool):
    prompts, completions = [p for p, _ in groups], [c for _, c in groups]
    batches = pack(prompts, completions, budget, shared=shared)
    rows = [(s.prompt, g) for batch in batches for s in batch for g in range(s.start, s.stop)]
    assert sorted(rows) == [(p, g) for p, group in enumerate(completions) for g in range(len(group))]
    for batch in batches:
        alone = len(batch) == 1 and batch[0].stop - batch[0].start == 1
        assert alone or cost(prompts, completions, batch, shared) <= budget
