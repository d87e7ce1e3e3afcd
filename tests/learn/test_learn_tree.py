"""The layout of a row: by hand, and that every token sees exactly its own path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivotrl_cli.learn import tree
from pivotrl_cli.learn.tree import PackedTree, Segment, build_tree

TRUNK = list(range(100, 160))


def path(row: PackedTree, place: int) -> list[int]:
    """The tokens that a place sees, itself last, as the attention would have it."""
    index = next(i for i, s in enumerate(row.segments) if s.start <= place < s.stop)
    pieces = row.visible_from(index, place + 1 - row.segments[index].start)
    return [row.tokens[i] for piece in reversed(pieces) for i in piece]


def test_pivots_hang_on_the_trunk_where_their_prompts_end():
    row = build_tree([TRUNK[:30], TRUNK], [[[1, 2, 3], [4]], [[5, 6]]])
    assert row.segments == [Segment(0, 60, 0, None), Segment(60, 62, 30, 0), Segment(62, 63, 60, 0)]
    assert row.tokens == [*TRUNK, 1, 2, 5]
    assert row.depths == [*range(60), 30, 31, 60]
    assert row.predictors == [29, 60, 61, 29, 59, 62]


def test_a_prompt_with_an_end_of_its_own_is_an_inner_segment():
    row = build_tree([[*TRUNK[:40], 7, 8], TRUNK], [[[1, 2]], [[3, 4]]])
    assert row.segments == [
        Segment(0, 60, 0, None),
        Segment(60, 62, 40, 0),
        Segment(62, 63, 42, 1),
        Segment(63, 64, 60, 0),
    ]
    assert row.predictors == [61, 62, 59, 63]


def test_a_handful_of_common_tokens_is_not_shared():
    assert [s.parent for s in build_tree([[1, 2, 3, 4], [1, 2, 3, 5]], [[[9]], [[9]]]).segments] == [None, None]


def test_what_a_window_sees_is_the_end_of_the_path():
    row = build_tree([[*TRUNK[:40], 7, 8], TRUNK], [[[1, 2]], []])
    assert row.visible_from(2, 1, at_most=5) == [range(62, 63), range(60, 62), range(38, 40)]
    assert row.visible_from(2, 0, at_most=1) == [range(61, 62)]


prompts_and_lengths = st.lists(
    st.tuples(st.lists(st.integers(0, 1), min_size=1, max_size=10), st.lists(st.integers(1, 5), max_size=3)),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("min_shared", [1, 4])
def test_every_completion_token_is_predicted_from_its_own_path(min_shared: int):
    @given(prompts_and_lengths)
    def check(groups: list[tuple[list[int], list[int]]]) -> None:
        prompts = [prompt for prompt, _ in groups]
        completions = [[[100 + 10 * g + t for t in range(n)] for g, n in enumerate(lengths)] for _, lengths in groups]
        row = build_tree(prompts, completions)
        predictors = iter(row.predictors)
        for prompt, group in zip(prompts, completions, strict=True):
            for completion in group:
                for t in range(len(completion)):
                    place = next(predictors)
                    seen = path(row, place)
                    assert seen == prompt + completion[:t]
                    assert row.depths[place] == len(seen) - 1
        assert next(predictors, None) is None
        assert [s.start for s in row.segments] == [0, *(s.stop for s in row.segments[:-1])]
        assert row.segments[-1].stop == len(row.tokens) == len(row.depths)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree, "MIN_SHARED", min_shared)
        check()


def test_a_trajectory_is_stored_once():
    prompts = [TRUNK[:n] for n in (20, 30, 40, 50, 60)]
    assert len(build_tree(prompts, [[[1, 2, 3]] * 4 for _ in prompts]).tokens) == 60 + 5 * 4 * 2
