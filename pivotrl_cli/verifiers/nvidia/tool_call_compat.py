"""NVIDIA's public verifier for conversational pivots, reproduced reward by reward and category by category.

It follows the behaviour of `single_step_tool_use_with_argument_comparison` of NeMo Gym 0.6 and 0.7 in its
conversational configuration, known exploits included, so that published numbers can be matched; `tool_call` lists what
the default does otherwise. Categories are theirs in lower case. Left out: their options for the number of calls
(`parallel_tool_call_rewarding`), which that configuration does not use.

Its own demonstration is not accepted where that holds NaN, an infinity, or, under a threshold above 0.5, a string of
two words and more: identical strings have a similarity of 0.5 by their formula.

Differences, all where their server answers with an error: an action that is nested more than 200 levels deep or holds
an integer of more than 4,300 digits gets 0 and `arguments_beyond_limits`; a malformed demonstration raises
`UnverifiableError` as soon as a call of the same name is compared with it.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers import Verdict
from pivotrl_cli.verifiers.compare.batches import near_miss
from pivotrl_cli.verifiers.compare.calls import Call, read_call, require_sound
from pivotrl_cli.verifiers.compare.differences import Category, Difference, key_difference, value_difference
from pivotrl_cli.verifiers.compare.matching import maximum_matching
from pivotrl_cli.verifiers.compare.messages import accepted_category

THRESHOLD = 0.1
"""Shared words over the sum of both counts, from which strings of two words and more are equal."""

TOLERANCE = 1e-6
"""Absolute difference below which floats are equal."""


def verify(candidate: Candidate, action: Message) -> Verdict:
    """Score `action` as NVIDIA's server does with its conversational configuration."""
    return compare_actions(candidate.expected_action, action)


def compare_actions(expected: Message, actual: Message, threshold: float = THRESHOLD) -> Verdict:
    """Message or call first, then the calls."""
    # Their responses hold an empty message item where the model wrote nothing at all, but none beside bare reasoning.
    if not actual.tool_calls and not actual.content and actual.reasoning:
        return Verdict(0.0, str(Category.NO_ACTION_FOUND))
    if not expected.tool_calls:
        talks = not actual.tool_calls
        category = Category.EXPECTED_CHAT_MESSAGE_FOUND if talks else Category.NO_EXPECTED_CHAT_MESSAGE
        return Verdict(float(talks), str(category))
    if not actual.tool_calls:
        return Verdict(0.0, str(Category.NO_EXPECTED_TOOL_CALL))
    return _compare_calls(expected, actual, threshold)


def _compare_calls(expected: Message, actual: Message, threshold: float) -> Verdict:
    """Match without regard to order; costs the product of the numbers of calls in comparisons."""
    wanted, given = ([read_call(call) for call in side.tool_calls] for side in (expected, actual))
    found = [[call_difference(want, got, threshold) for got in given] for want in wanted]
    pairs = maximum_matching([[i for i, miss in enumerate(row) if miss is None] for row in found])
    unmatched = [row for i, row in enumerate(found) if i not in pairs]
    if not unmatched:
        return Verdict(1.0, str(accepted_category(expected)))
    if len(pairs) == len(given):
        reason = f"expected {len(wanted)} calls, got {len(given)}"
        return Verdict.of(Difference(Category.FUNCTION_CALL_BATCH_LENGTH_DIFFERENT, reason), expected)
    taken = Difference(Category.UNEXPECTED_TOOL, "its match is taken by another call")
    return Verdict.of(near_miss(unmatched[0]) or taken, expected)


def call_difference(expected: Call, actual: Call, threshold: float) -> Difference | None:
    """Same name, and arguments that compare equal."""
    if expected.name != actual.name:
        return value_difference(Category.UNEXPECTED_TOOL, expected.name, actual.name)
    require_sound(expected)
    return actual.problem or arguments_difference(expected.arguments, actual.arguments, threshold)


def arguments_difference(expected: Any, actual: Any, threshold: float = THRESHOLD) -> Difference | None:
    """The first difference between two JSON values, in the expected object's key order."""
    # Python's subclassing shows through: an expected 1 takes true, an expected true does not take 1.
    if not isinstance(actual, type(expected)):
        return value_difference(Category.ARGUMENT_VALUE_TYPE_DIFFERENT, expected, actual)
    if isinstance(expected, dict):
        return _object_difference(expected, actual, threshold)
    if isinstance(expected, list):
        return _list_difference(expected, actual, threshold)
    if isinstance(expected, float):
        equal = abs(actual - expected) < TOLERANCE
    elif isinstance(expected, str):
        equal = _strings_equal(expected, actual, threshold)
    else:
        equal = expected == actual
    return None if equal else value_difference(Category.ARGUMENT_VALUE_DIFFERENT, expected, actual)


def _object_difference(expected: dict[str, Any], actual: dict[str, Any], threshold: float) -> Difference | None:
    difference = key_difference(expected, actual)
    if difference is not None:
        return difference
    for key, want in expected.items():
        difference = arguments_difference(want, actual[key], threshold)
        if difference is not None:
            return difference.below(key)
    return None


def _list_difference(expected: list[Any], actual: list[Any], threshold: float) -> Difference | None:
    if len(expected) != len(actual):
        return value_difference(Category.ARGUMENT_LIST_LENGTH_DIFFERENT, expected, actual)
    for index, (want, got) in enumerate(zip(expected, actual, strict=True)):
        difference = arguments_difference(want, got, threshold)
        if difference is not None:
            return difference.below(index)
    return None


_WORD = re.compile(r"\S+")


def _strings_equal(expected: str, actual: str, threshold: float) -> bool:
    """Raw equality below two words, else shared words over the sum of both counts, at most 0.5.

    The actual words are taken one by one, until the demonstrated ones cannot be shared often enough any more.
    """
    left = Counter(expected.lower().split())
    n_want, n_got, shared = left.total(), 0, 0
    if n_want < 2 or len(actual.split(None, 1)) < 2:
        return expected == actual
    if threshold <= 0:
        return True
    for match in _WORD.finditer(actual.lower()):
        n_got += 1
        if left[match.group()] > 0:
            left[match.group()] -= 1
            shared += 1
        if n_want / (n_want + n_got) < threshold:
            return False
    return shared / (n_want + n_got) >= threshold
