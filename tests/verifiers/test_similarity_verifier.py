"""The dense reward of SRL, by hand: twice the matched characters over all characters."""

from __future__ import annotations

import pytest
from verifiers_actions import call, calls, says, score

from pivotrl_cli.rows import Message

SEVEN = calls(call("look", order=7))


@pytest.mark.parametrize(
    ("expected", "action", "reward"),
    [
        # `look {"order": ` and `}` match, 15 + 1 of 17 characters a side
        (SEVEN, calls(call("look", order=9)), 2 * 16 / 34),
        (SEVEN, calls(call("look", '{ "order" :7}')), 1.0),
        # the calls are lines, so the second one adds 18 characters that nothing matches
        (SEVEN, calls(call("look", order=7), call("look", order=8)), 2 * 17 / (17 + 35)),
        # `itt` and `n` match, of 6 and 7 characters
        (says("kitten"), says("sitting"), 2 * 4 / 13),
        (says("kitten"), says(" kitten\n"), 1.0),
        (says("abc"), says("xyz"), 0.0),
        # `q {"s": "`, `a` or `b`, and `"}` match, 9 + 1 + 2 of 13 characters a side
        (calls(call("q", s="ab")), calls(call("q", s="ba")), 2 * 12 / 26),
    ],
)
def test_the_reward_is_the_ratio_of_matched_characters(expected: Message, action: Message, reward: float) -> None:
    assert score("similarity", expected, action).reward == pytest.approx(reward, abs=1e-12)


@pytest.mark.parametrize(
    ("expected", "action", "category"),
    [
        (SEVEN, says('look {"order": 7}'), "no_expected_tool_call"),
        (SEVEN, says(" "), "no_action_found"),
        (says("hello"), SEVEN, "no_expected_chat_message"),
        (says("hello"), says(""), "no_action_found"),
        (SEVEN, calls(call("look", '{"order": 7')), "arguments_decode_error"),
        (SEVEN, calls(call("look", "[7]")), "arguments_not_object"),
        (SEVEN, calls(call("look", order=7), call("look", "")), "arguments_decode_error"),
    ],
)
def test_malformed_actions_and_actions_of_the_other_kind_earn_nothing(
    expected: Message, action: Message, category: str
) -> None:
    found = score("similarity", expected, action)
    assert (found.reward, found.category) == (0.0, category)


def test_texts_beyond_what_difflib_can_compare_earn_nothing() -> None:
    found = score("similarity", says("a" * 30_000), says("a" * 29_999))
    assert (found.reward, found.category) == (0.0, "comparison_beyond_limits")
