"""Group-normalised advantages against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pivotrl_cli.learn.advantage import ADVANTAGES, group_normalized, has_variance, leave_one_out, mean_centered

NAN = float("nan")


def advantages(rewards: list[list[float]], **options: object) -> list[list[float]]:
    return group_normalized(torch.tensor(rewards, dtype=torch.float64), **options).tolist()


def test_half_right_gives_plus_and_minus_one():
    assert advantages([[1, 0, 0, 1]], eps_std=0.0) == [[1, -1, -1, 1]]


def test_one_right_of_four():
    # mean 1/4, population std sqrt(3)/4
    assert advantages([[0, 1, 0, 0]], eps_std=0.0)[0] == pytest.approx(
        [-1 / math.sqrt(3), math.sqrt(3)] + [-1 / math.sqrt(3)] * 2
    )


def test_eps_is_added_to_the_standard_deviation():
    assert advantages([[1, 0]], eps_std=0.5) == [[0.5, -0.5]]


def test_groups_do_not_see_each_other():
    assert advantages([[1, 0], [0.25, 0.75]], eps_std=0.0) == [[1, -1], [-1, 1]]


@pytest.mark.parametrize(
    "group",
    [[0, 0, 0], [1, 1, 1], [0.1, 0.1, 0.1], [0.7] * 3, [NAN, NAN, NAN], [1, NAN, NAN], [0.1, NAN, 0.1]],
    ids=["all wrong", "all right", "equal", "equal, rounded mean", "none scored", "one scored", "two scored, equal"],
)
def test_degenerate_groups_are_exactly_zero(group: list[float]):
    assert advantages([group]) == [[0, 0, 0]]


def test_rounding_of_the_mean_invents_no_variance():
    rewards = torch.full((1, 7), 0.1, dtype=torch.float32)
    assert rewards.mean().item() != rewards[0, 0].item()
    assert group_normalized(rewards).eq(0).all()


def test_group_of_one():
    assert advantages([[1], [0]]) == [[0], [0]]


def test_unscored_rollouts_have_no_part():
    assert advantages([[1, NAN, 0, NAN]], eps_std=0.0) == [[1, 0, -1, 0]]


def test_a_mask_rules_over_the_reward_that_stands_there():
    scored = torch.tensor([[True, True, False]])
    assert advantages([[1, 0, 1]], scored_P_G=scored, eps_std=0.0) == [[1, -1, 0]]


def test_scored_advantages_have_mean_zero_and_variance_one():
    rewards = torch.rand(5, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    result = group_normalized(rewards, eps_std=0.0)
    torch.testing.assert_close(result.mean(dim=1), torch.zeros(5, dtype=torch.float64), atol=1e-14, rtol=0)
    torch.testing.assert_close(result.square().mean(dim=1), torch.ones(5, dtype=torch.float64))


def test_no_std_is_the_difference_from_the_mean():
    assert mean_centered(torch.tensor([[1, 0, 0, 0], [0, NAN, 1, NAN]], dtype=torch.float64)).tolist() == [
        [0.75, -0.25, -0.25, -0.25],
        [-0.5, 0, 0.5, 0],
    ]


def test_leave_one_out_by_hand():
    result = leave_one_out(torch.tensor([[1, 0, 0]], dtype=torch.float64), eps_std=0.0)
    assert result[0].tolist() == pytest.approx([1, -math.sqrt(0.5), -math.sqrt(0.5)])


@pytest.mark.parametrize("n", [2, 3, 8])
def test_leave_one_out_is_what_its_definition_says(n: int):
    rewards = torch.rand(4, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    expected = torch.empty_like(rewards)
    for i in range(n):
        others = torch.cat([rewards[:, :i], rewards[:, i + 1 :]], dim=1)
        divisor = others.std(dim=1) if n > 2 else 1.0
        expected[:, i] = (rewards[:, i] - others.mean(dim=1)) / divisor
    torch.testing.assert_close(leave_one_out(rewards, eps_std=0.0), expected)


def test_leave_one_out_leaves_the_unscored_out():
    full, holed = [[1, 0, 0.5]], [[1, NAN, 0, 0.5, NAN]]
    expected = leave_one_out(torch.tensor(full, dtype=torch.float64))[0].tolist()
    found = leave_one_out(torch.tensor(holed, dtype=torch.float64))[0].tolist()
    assert [found[0], found[2], found[3]] == pytest.approx(expected)
    assert [found[1], found[4]] == [0, 0]


@pytest.mark.parametrize("kind", ADVANTAGES)
@pytest.mark.parametrize("group", [[0, 0, 0], [0.1, 0.1, 0.1], [0.7] * 7, [NAN] * 3, [1, NAN, NAN], [0.1, NAN, 0.1]])
def test_no_kind_invents_variance(kind: str, group: list[float]):
    assert ADVANTAGES[kind](torch.tensor([group], dtype=torch.float64)).tolist() == [[0.0] * len(group)]


def test_has_variance():
    rewards = torch.tensor([[1.0, 0.0, NAN], [1.0, 1.0, 0.0], [NAN, NAN, NAN]])
    scored = torch.tensor([[True, True, False], [True, True, False], [False, False, False]])
    assert has_variance(rewards, scored).tolist() == [True, False, False]
